r"""Whether a component's basis is known before an image is seen, beside the basis that grows while a store is written.

    python benchmarks/known_bases.py            small families with random weights, two minutes on a core
    python benchmarks/known_bases.py --quick    four of them, fewer images
    python benchmarks/known_bases.py --out docs/benchmarks

A basis that is *known* spans what random sources become under the frozen map of one image of noise; *known from many*
takes as many images of noise as the representation has dimensions, and some more. Known bases are computed in float64.
A basis that has *grown* is that of the store, from the images themselves, in chunks. The images are smooth, of all
contrasts and brightnesses, and so unlike the noise. *Outside* is the largest part of a contribution, relative to it,
that a basis leaves out; a basis *holds* if that is no more than the store allows.
"""

from __future__ import annotations

import sys
import tempfile
import time
import tracemalloc
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import timm
import torch
import typer
from rich.console import Console
from sheets import Result, Sheet, write
from torch import Tensor, nn

from vitdecomp import Component, Decomposer
from vitdecomp.datasets import Picture
from vitdecomp.store.encoding import PRECISIONS, Encoding, first_encoding, fitting
from vitdecomp.store.metadata import Metadata
from vitdecomp.store.rows import Chunk, rows_of
from vitdecomp.store.schema import bases_table
from vitdecomp.store.writer import StoreWriter
from vitdecomp.trace.linear_graph import CONSTANT

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from helpers import pictures, randomised
from zoo import ZOO

CHUNK, RANK = 128, 1e-11  # images of a chunk; what counts as a direction of its own in float64
SMALL: dict[str, Any] = {
    "img_size": 64, "embed_dim": (16, 24, 32, 64), "depths": (1, 1, 1, 1), "stem_width": 16, "transformer_dim_head": 8,
}  # fmt: skip
FAMILIES: dict[str, tuple[Callable[[], nn.Module], int]] = {
    **{name: (ZOO[name].make, ZOO[name].size) for name in ("vit_cls", "vit_avg", "dinov2", "swin", "swinv2")},
    **{name: (ZOO[name].make, ZOO[name].size) for name in ("cait", "xcit", "siglip", "hiera")},
    "maxvit": (lambda: timm.create_model("maxvit_pico_rw_256", num_classes=0, **SMALL), 64),
    "vit_tanh": (lambda: nn.Sequential(ZOO["vit_cls"].make(), nn.Linear(48, 48), nn.Tanh()), 32),
}
QUICK = ("vit_cls", "swin", "swinv2", "vit_tanh")
FORMATS = {"float64": ("float64",), "float32": ("float32", "float16")}  # of a model, to precisions of a store
REST = {"MLP, conv, patches": ("mlp", "conv", "embed"), "constants": ("const",)}


@dataclass(frozen=True)
class Measured:
    """One component at one precision.

    Attributes:
        rank: of the bases known from one image and from many, and of the one that has grown; d for none.
        outside: of the same.
        loss: of what is read with the basis that is known from one image, and with the one that has grown.
        grew: encodings after the first one.
    """

    component: Component
    rank: tuple[int, int, int]
    outside: tuple[float, float, float]
    loss: tuple[float, float]
    grew: int


def spans(dec: Decomposer, images: Tensor) -> list[np.ndarray]:
    """For each component a basis of what random sources become with the gates of these images."""
    paths, component_set = dec.views.of("head")
    source, found = torch.Generator().manual_seed(0), []
    for chunk in paths.recorder.portions(images):
        representation, recorded = paths.recorder(chunk)
        for leaf in paths.graph.leaves.values():
            if leaf.kind != CONSTANT:
                x = recorded[leaf.value]
                recorded[leaf.value] = torch.randn(x.shape, generator=source, dtype=x.dtype)
        with torch.no_grad():
            found.append(component_set.pushed(recorded, len(chunk), representation))
    return [_basis(values.numpy()) for values in torch.cat(found).unbind(1)]


def _basis(values: np.ndarray) -> np.ndarray:
    unit = values / np.linalg.norm(values, axis=1, keepdims=True).clip(np.finfo(float).tiny)
    _, size, directions = np.linalg.svd(unit, full_matrices=False)
    kept: np.ndarray = directions[size > RANK * size.max(initial=0)].T
    return kept


def grown(values: np.ndarray, precision: str) -> list[Encoding]:
    """Encode a component after each chunk."""
    found = [first_encoding(values[:CHUNK], precision)]
    for start in range(CHUNK, len(values), CHUNK):
        found.append(fitting(found[-1], values[start : start + CHUNK], precision))
    return found


def known_encoding(basis: np.ndarray, like: Encoding, precision: str) -> Encoding:
    """Encode with a known basis; scale and format cannot be known without images, and are taken from another."""
    d, number = like.dimension, PRECISIONS[precision].basis
    return replace(like, basis=None if 2 * basis.shape[1] > d else basis.astype(number), fixed=False, generation=0)


def compared(
    component: Component, values: np.ndarray, known: Sequence[np.ndarray], precision: str
) -> tuple[Measured, Encoding, Encoding]:
    """Compare a component's first encoding from images with the one that is known from one image."""
    grew = grown(values, precision)
    own = [known_encoding(basis, grew[0], precision) for basis in known]
    coded = [encoding.code(values) for encoding in (*own, grew[-1])]
    told = Measured(
        component,
        (own[0].width, own[1].width, grew[-1].width),
        (float(coded[0].outside.max()), float(coded[1].outside.max()), float(coded[2].outside.max())),
        (float(coded[0].loss.max()), float(coded[2].loss.max())),
        grew[-1].generation,
    )
    return told, grew[0], own[0]


def written(place: str, values: Tensor, components: Sequence[Component], first: Sequence[Encoding]) -> list[float]:
    """Seconds and megabytes of a writer that begins with some encodings, or finds them if none are given."""
    n, d = len(values), values.shape[2]
    settings = ("random:made", "0", "none", "embedding", "head", None, "float32", "float16", d)
    metadata, writer = Metadata(*settings, tuple(components)), StoreWriter(place)
    tracemalloc.start()
    began = time.perf_counter()
    for start in range(0, n, CHUNK):
        names = [f"{i}.png" for i in range(start, min(start + CHUNK, n))]
        some, error = values[start : start + CHUNK], torch.zeros(len(names), dtype=torch.float64)
        chunk = Chunk([Picture(name) for name in names], names, names, some, error)
        if first and not start:
            writer.bases.replace(bases_table(metadata, dict(enumerate(first)), "float32"))
            writer.images.replace(rows_of(metadata, chunk, first))
            writer.metadata, writer._encodings = metadata, list(first)
        else:
            writer.write(metadata, chunk)
    took, peak = time.perf_counter() - began, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return [took, peak / 2**20]


def smooth(n: int, size: int) -> Tensor:
    """Images of 4 x 4 colors, with contrasts from a tenth to three and a brightness of their own."""
    source = torch.Generator().manual_seed(4)
    contrast, brightness = (torch.rand(n, 1, 1, 1, generator=source, dtype=torch.float64) for _ in range(2))
    coarse = (0.1 + 2.9 * contrast) * pictures(n, 4, seed=3) + 4 * brightness - 2
    return nn.functional.interpolate(coarse, size, mode="bicubic")


def measure(make: Callable[[], nn.Module], size: int, n: int) -> dict[str, Any]:
    """Return all components of a model at all precisions."""
    torch.manual_seed(0)
    module, found = randomised(make()), dict[str, Any](measured={}, seconds={}, write={})
    images = smooth(n, size)
    for number, precisions in FORMATS.items():
        dtype = getattr(torch, number)
        dec = Decomposer(module.to(dtype), cache=None).fit(pictures(1, size).to(dtype))
        values = torch.cat([dec.transform(x.to(dtype)).values for x in images.split(CHUNK)])
        d = values.shape[2]
        if number == "float64":
            began = time.perf_counter()
            one = spans(dec, pictures(1, size, seed=7).repeat(d + 8, 1, 1, 1))
            found["seconds"]["known"] = time.perf_counter() - began
            many = spans(dec, pictures(d + 8, size, seed=8))
        for precision in precisions:
            rows = [
                compared(component, values[:, i].double().numpy(), (one[i], many[i]), precision)
                for i, component in enumerate(dec.components_)
            ]
            found["measured"][precision] = [row[0] for row in rows]
        began = time.perf_counter()
        for each in values.double().unbind(1):
            grown(each.numpy(), precision)
        found["seconds"]["grown"] = time.perf_counter() - began
    outside = PRECISIONS[precision].outside
    first = [own if m.component.kind == "attn" and m.outside[0] <= outside else grew for m, grew, own in rows]
    with tempfile.TemporaryDirectory() as temporary:
        for name, encodings in (("warm-up", ()), ("grown", ()), ("known", first)):
            found["write"][name] = written(f"{temporary}/{name}", values, dec.components_, encodings)
    return {**found, "d": d, "parts": len(dec.components_)}


def sheets(results: dict[str, dict[str, Any]]) -> list[Sheet]:
    """Write the tables of all families."""
    heads, rest, cost = [], [], []
    for family, found in results.items():
        d = found["d"]
        for precision, measured in found["measured"].items():
            allowed = PRECISIONS[precision].outside
            some = [m for m in measured if m.component.kind == "attn"]
            heads.append([
                family, precision, str(d), *(_range([m.rank[i] for m in some]) for i in (0, 2)),
                *(f"{max(m.outside[i] for m in some):.0e}" for i in (0, 1)), _held(some, 0, allowed),
                *(f"{max(m.loss[i] for m in some):.1e}" for i in (0, 1)), f"{sum(m.grew > 0 for m in some)}",
            ])  # fmt: skip
            for title, kinds in REST.items():
                if title != "constants" and precision != "float16":
                    continue  # the same at all precisions
                some = [m for m in measured if m.component.kind in kinds]
                rest.append([
                    family, title, precision, *(_range([m.rank[i] for m in some]) for i in range(3)),
                    *(_held(some, i, allowed) for i in (0, 1)), f"{sum(m.grew > 0 for m in some)}",
                ])  # fmt: skip
        cost.append([family, *_costs(found)])
    more = ("outside, one", "outside, many", "holds", "loss, known", "loss, grown", "grew")
    return [
        Sheet("Heads", ("family", "precision", "d", "rank, known", "rank, grown", *more), heads, words=2),
        Sheet(
            "All else",
            ("family", "components", "precision", "rank, one", "rank, many", "rank, grown",
             "one holds", "many hold", "grew"),
            rest, words=3,
        ),
        Sheet(
            "Cost, float16",
            ("family", "bytes, grown", "bytes, heads known", "bytes, all else full", "find known, s", "find grown, s",
             "write grown, s", "write heads known, s", "grown, MB", "heads known, MB"),
            cost,
        ),
    ]  # fmt: skip


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"


def _held(some: Sequence[Measured], which: int, allowed: float) -> str:
    return f"{sum(m.outside[which] <= allowed for m in some)} of {len(some)}"


def _costs(found: dict[str, Any]) -> list[str]:
    """Bytes of an image's coefficients, seconds and megabytes; a constant of rank 1 is known, others are not."""
    measured, d = found["measured"]["float16"], found["d"]
    outside = PRECISIONS["float16"].outside
    heads = sum(2 * (m.rank[0] if m.outside[0] <= outside else d) for m in measured if m.component.kind == "attn")
    rest = [m for m in measured if m.component.kind != "attn"]
    bytes_ = (
        sum(2 * m.rank[2] for m in measured),
        heads + sum(2 * m.rank[2] for m in rest),
        heads + sum(2 * (m.rank[2] if m.rank[1] == 1 else d) for m in rest),
    )
    took = [found["seconds"]["known"], found["seconds"]["grown"], *(found["write"][k][0] for k in ("grown", "known"))]
    memory = [found["write"][k][1] for k in ("grown", "known")]
    return [*(f"{x:,}" for x in bytes_), *(f"{x:.2f}" for x in took), *(f"{x:.1f}" for x in memory)]


def main(
    families: Annotated[list[str] | None, typer.Argument(help="Families; default: all.")] = None,
    n: Annotated[int, typer.Option("-n", min=CHUNK, help="Images.")] = 384,
    quick: Annotated[bool, typer.Option("--quick", help="Four families, 256 images.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write `known_bases.md` and `known_bases.json` here.")] = None,
) -> None:
    warnings.simplefilter("ignore")
    chosen, n = families or list(QUICK if quick else FAMILIES), min(n, 2 * CHUNK) if quick else n
    results = {}
    for name in chosen:
        began = time.perf_counter()
        results[name] = measure(*FAMILIES[name], n)
        print(f"{name}: {time.perf_counter() - began:.0f} s", file=sys.stderr)
    tables = sheets(results)
    for table in tables:
        Console(width=200).print(table.rich())
    if out is not None:
        figures = {table.title: [dict(zip(table.header, row, strict=True)) for row in table.rows] for table in tables}
        sentence = "Bases before an image is seen: [what follows](../mathematics.md#the-span-of-a-component)."
        heading = ("Known and grown bases", sentence)
        write(out, "known_bases", heading, {"n": n}, {"Small models, random weights": Result(figures, tables)})


if __name__ == "__main__":
    typer.run(main)
