r"""What 10^6, 10^8 and 10^9 images take: GPU hours, bytes, seconds of a query.

    python benchmarks/scale.py                                      ViT-B/16, 256 noise images
    python benchmarks/scale.py --images-per-second 5000 --bandwidth 10 --out docs/benchmarks

Bytes of an image are measured: contributions of the model are encoded as `vitdecomp extract` encodes them. All else is
arithmetic with the figures that are given.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from sheets import Result, Sheet, write

from vitdecomp import Decomposer
from vitdecomp.models.prepare import ModelOptions, prepare
from vitdecomp.store.encoding import PRECISIONS, Encoding, first_encoding

SIZES = (10**6, 10**8, 10**9)
RANK = 64  # of a head
SEARCHED = 5  # heads that a feature is in
WORDS = 250  # bytes of an image's names and checksums
UNITS = ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "B"))
TIMES = ((86400, "days"), (3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms"))


def contributions(model: str, n: int, batch: int) -> torch.Tensor:
    """Contributions of heads to noise images."""
    prepared = prepare(ModelOptions(model, random_weights=True, device="cpu"))
    size = prepared.loaded.input_size or (3, 224, 224)
    images = torch.randn(n, *size, generator=torch.Generator().manual_seed(0))
    dec = Decomposer(prepared.loaded, by="head").fit(images[:1])
    return torch.cat([dec.transform(images[i : i + batch]).values for i in range(0, n, batch)])


def bytes_of(values: torch.Tensor, precision: str) -> dict[str, Any]:
    """Compute what an image takes, and what all bases take together."""
    columns = [values[:, i].double().numpy() for i in range(values.shape[1])]
    found: list[Encoding] = [first_encoding(column, precision) for column in columns]
    itemsize = {"float16": 2, "float32": 4, "float64": 8}
    coefficients = sum(e.width * itemsize[e.format] for e in found if not e.fixed)
    bases = sum(e.basis.nbytes for e in found if e.basis is not None)
    own = coefficients + 4 * values.shape[2] + 4 * values.shape[1] + WORDS
    return {"coefficients": coefficients, "image": own, "bases": bases}


def told(value: float, units: tuple[tuple[float, str], ...]) -> str:
    """Write a figure in a unit that fits."""
    size, name = next(((size, name) for size, name in units if value >= size), units[-1])
    return f"{value / size:,.3g} {name}"


def main(
    model: Annotated[str, typer.Option(help="A spec; its weights are random.")] = "timm:vit_base_patch16_224",
    n: Annotated[int, typer.Option("-n", min=128, help="Images for the bytes.")] = 256,
    batch: Annotated[int, typer.Option(min=1, help="Images at once.")] = 16,
    images_per_second: Annotated[float, typer.Option(help="Of a plain forward pass on one GPU.")] = 2787,
    ratio: Annotated[float, typer.Option(help="Time of a decomposition over that of a forward pass.")] = 1.05,
    bandwidth: Annotated[float, typer.Option(help="At which columns are read, in GB/s.")] = 1.4,
    out: Annotated[Path | None, typer.Option(help="Folder for scale.md and scale.json.")] = None,
) -> None:
    values = contributions(model, n, batch)
    sizes = {precision: bytes_of(values, precision) for precision in PRECISIONS}
    plain = 4 * values.shape[1] * values.shape[2]
    rows = [[p, *(told(s[k], UNITS) for k in ("coefficients", "image", "bases"))] for p, s in sizes.items()]
    first = Sheet(
        f"Bytes: {values.shape[1]} components of {values.shape[2]} dimensions; float32 without bases: {plain:,}",
        ["precision", "coefficients of an image", "an image with all else", "bases, once"],
        rows,
    )
    scanned, seconds = 2 * RANK * SEARCHED, ratio / images_per_second
    second = Sheet(
        f"{images_per_second:,.0f} images/s of a plain pass on a GPU, times {ratio}; columns read at {bandwidth} GB/s",
        ["images", "GPU hours", *(f"store, {p}" for p in PRECISIONS), f"{SEARCHED} heads are", "one scan", "index"],
        [
            [
                f"{images:,}",
                f"{images * seconds / 3600:,.3g}",
                *(told(images * s["image"], UNITS) for s in sizes.values()),
                told(images * scanned, UNITS),
                told(images * scanned / bandwidth / 1e9, TIMES),
                told(images * scanned, UNITS),
            ]
            for images in SIZES
        ],
    )
    console = Console()
    for sheet in (first, second):
        console.print(sheet.rich())
    if out is not None:
        heading = ("How far it scales", "Bytes of an image are measured with random weights; all else is arithmetic.")
        figures = {"bytes": sizes, "images_per_second": images_per_second, "ratio": ratio, "bandwidth": bandwidth}
        write(out, "scale", heading, {"n": n}, {model: Result(figures, [first, second])})


if __name__ == "__main__":
    typer.run(main)
