"""A vision transformer with random weights, taken apart on photographs that need no download."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from vitdecomp.component import Component
from vitdecomp.contributions import Contributions
from vitdecomp.decompose import Decomposer
from vitdecomp.files import atomic, check_directory, make_directory
from vitdecomp.graph_file import write_graph
from vitdecomp.images import sample_photographs
from vitdecomp.prepare import SAMPLE, Request, prepare
from vitdecomp.report import Report

MODEL = "timm:deit_tiny_patch16_224"
PARTS = (
    (0.0, 0.0, 1.0),
    (0.0, 0.0, 0.6),
    (0.4, 0.4, 0.6),
    (0.2, 0.1, 0.7),
)  # left, top and side of the crops


@dataclass(frozen=True, slots=True)
class Share:
    """What one component has in the representations, on the average over the images.

    Attributes:
        component: which one.
        norm: its norm over the sum of all components' norms.
        part: <contribution, representation> / |representation|^2; these add up to 1 if the sum is exact.
    """

    component: Component
    norm: float
    part: float


@dataclass(frozen=True, slots=True)
class Demo:
    """What the demo found.

    Attributes:
        report: of the decomposition. images: how many. source: what they are. error: largest relative error.
        shares: all components, the largest norm first.
    """

    report: Report
    images: int
    source: str
    error: float
    shares: tuple[Share, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        shares = [{"component": s.component.name, "norm": s.norm, "part": s.part} for s in self.shares]
        return {**self.report.to_json(), "images": self.images, "batch_error": self.error, "shares": shares}


def run_demo(out: Path | None = None, seed: int = 0) -> Demo:
    """Decompose photographs with a seeded random model; into `out` go `report.json` and `paths.graphml`."""
    if out is not None:
        check_directory(out)
    ready = prepare(Request(MODEL, random_weights=True, device="cpu", seed=seed))
    photographs = [crop for image in sample_photographs() for crop in _crops(image)]
    batch = ready.batch(photographs)
    dec = Decomposer(ready.loaded).fit(batch[:1])
    c = dec.transform(batch)
    with torch.no_grad():
        representation = ready.loaded.representation()(batch)
    source = f"{SAMPLE}, {len(PARTS)} crops of each"
    result = Demo(dec.report_, len(batch), source, float(c.error.max()), shares(c, representation))
    if out is not None:
        _write(result, out)
    return result


def shares(c: Contributions, representation: Float[Tensor, "n d"]) -> tuple[Share, ...]:
    """The share of every component in the model's own representations, the largest norm first."""
    norms = c.values.double().norm(dim=2)
    norm = (norms / norms.sum(1, keepdim=True)).mean(0)
    whole = representation.double()
    part = (torch.einsum("ncd,nd->nc", c.values.double(), whole) / whole.square().sum(1, keepdim=True)).mean(0)
    found = [Share(k, float(n), float(p)) for k, n, p in zip(c.components, norm, part, strict=True)]
    return tuple(sorted(found, key=lambda share: -share.norm))


def _crops(image: Image.Image) -> Iterator[Image.Image]:
    side = min(image.size)
    for left, top, part in PARTS:
        x, y, size = int(left * image.width), int(top * image.height), int(part * side)
        yield image.crop((x, y, min(x + size, image.width), min(y + size, image.height)))


def _write(result: Demo, out: Path) -> None:
    make_directory(out)
    with atomic(out / "report.json") as partial:
        partial.write_text(json.dumps(result.to_json(), indent=1) + "\n", encoding="utf-8")
    write_graph(result.report.graph, out / "paths.graphml")
