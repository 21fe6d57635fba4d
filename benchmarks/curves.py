"""Cost against what a decomposition grows with: depth, width, tokens, images, components and directions.

All models are plain ViTs of timm with random weights, of which one number is varied.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import isqrt
from types import MappingProxyType
from typing import Any

import torch
from bench import Bench, traced
from machine import missing
from speed_tasks import HEADS, Run, plain, pull, push
from timing import PLAIN, Conditions, measured

HEAD_TOKEN = "one direction by head x token"
HEAD = "one direction by head"


@dataclass(frozen=True)
class Shape:
    """A ViT with a class token, and how many images it gets.

    Attributes:
        depth: blocks. width: of the residual stream. tokens: the class token and a square of patches.
        patch: pixels along the side of one. head: width of a head. batch: images.
    """

    depth: int = 6
    width: int = 384
    tokens: int = 197
    patch: int = 16
    head: int = 64
    batch: int = 2

    @property
    def side(self) -> int:
        """Of an image, in pixels."""
        return self.patch * isqrt(self.tokens - 1)

    def bench(self, conditions: Conditions) -> Bench:
        """Fit the model on two images."""
        from timm.models import VisionTransformer

        torch.manual_seed(0)
        sizes = {"img_size": self.side, "patch_size": self.patch, "embed_dim": self.width, "depth": self.depth}
        model = VisionTransformer(**sizes, num_heads=self.width // self.head, num_classes=0)
        return Bench.of(model, (3, self.side, self.side), self.batch, conditions)


Tasks = Callable[[Bench, int], Mapping[str, Run]]


@dataclass(frozen=True)
class Curve:
    """What is varied.

    Attributes:
        label: for an axis. shape: the model at a point. points: where it is measured. quick: the same for small models.
        tasks: what is measured at a point, beside the plain pass.
    """

    label: str
    shape: Callable[[Shape, int], Shape]
    points: Sequence[int]
    quick: Sequence[int]
    tasks: Tasks


def _usual(bench: Bench, point: int) -> Mapping[str, Run]:
    makes = {PLAIN: plain, HEADS: push, HEAD: pull("head"), HEAD_TOKEN: pull(("head", "token"))}
    return {name: make(bench) for name, make in makes.items()}


def _some(bench: Bench, components: int) -> Mapping[str, Run]:
    """So many of all heads, the last ones of the model first, since those near its end need less."""
    chosen = [c for c in bench.dec.components_ if c.kind == "attn"][::-1][:components]
    partial = bench.dec.subset(chosen)

    def run() -> Any:
        with torch.inference_mode():
            return partial(bench.images)

    return {PLAIN: plain(bench), "chosen heads alone": run, "all of them": push(bench)}


def _directions(bench: Bench, directions: int) -> Mapping[str, Run]:
    return {PLAIN: plain(bench), "by head": pull("head", directions)(bench)}


def _images(bench: Bench, images: int) -> Mapping[str, Run]:
    """So many images in batches, and the same with the tracing before them."""
    batches = [bench] * (images // len(bench.images))

    def times(run: Run) -> Run:
        def several() -> None:
            for _ in batches:
                run()

        return several

    def from_scratch() -> None:
        times(push(replace(bench, dec=traced(bench.loaded, bench.images[:2]))))()

    return {PLAIN: times(plain(bench)), HEADS: times(push(bench)), f"{HEADS}, tracing included": from_scratch}


def _same(shape: Shape, point: int) -> Shape:
    return shape


def _short(shape: Shape, point: int) -> Shape:
    return replace(shape, depth=2)


def _varied(name: str) -> Callable[[Shape, int], Shape]:
    return lambda shape, point: replace(shape, **{name: point})


CURVES: Mapping[str, Curve] = MappingProxyType(
    {
        "depth": Curve("blocks", _varied("depth"), (2, 4, 8, 16, 24), (1, 2), _usual),
        "width": Curve("width", _varied("width"), (192, 384, 576, 768, 1024), (32, 64), _usual),
        "tokens": Curve("tokens", _varied("tokens"), (17, 65, 197, 401, 785), (5, 17), _usual),
        "batch": Curve("images in a batch", _varied("batch"), (1, 2, 8, 32, 64), (1, 2), _usual),
        "components": Curve("heads asked for", _same, (1, 3, 9, 18, 36), (1, 2), _some),
        "directions": Curve("directions", _same, (1, 2, 4, 16, 100), (1, 8), _directions),
        "images": Curve("images, two at once", _short, (2, 8, 32, 128), (2, 4), _images),
    }
)
QUICK = Shape(depth=2, width=64, tokens=17, patch=4, head=16, batch=2)


def curve(name: str, conditions: Conditions, *, quick: bool = False) -> dict[str, Any]:
    """Rows at every point of a curve.

    Args:
        name: what is varied.
        conditions: where, and how often.
        quick: few points of small models, to see that it works.
    """
    what = CURVES[name]
    found: dict[str, Any] = {"label": what.label, "why": missing("timm"), "points": []}
    if found["why"]:
        return found
    base = QUICK if quick else Shape()
    fitted: tuple[Shape, Bench] | None = None
    for point in what.quick if quick else what.points:
        shape = what.shape(base, point)
        alone = replace(shape, batch=1)
        if fitted is None or fitted[0] != alone:  # fitted once, it takes batches of any size
            fitted = alone, alone.bench(conditions)
        rows = measured(what.tasks(fitted[1].with_batch(shape.batch), point), shape.batch, conditions)
        found["points"].append({"at": point, "rows": [asdict(row) for row in rows]})
    return found
