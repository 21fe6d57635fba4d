"""Which axis of each source is images, heads, tokens, channels, and by which evidence."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from vitdecomp.component import CONSTANT_KIND
from vitdecomp.trace.axes.layout import LABELS, Axis
from vitdecomp.trace.operations import packet
from vitdecomp.trace.paths import LinearPaths, Part
from vitdecomp.trace.rule import module_path, shape


@dataclass(frozen=True, slots=True)
class SourceAxes:
    """The axes of one source.

    Attributes:
        source: name of its components, without head and token. kind: as in `Component`.
        module: that calls the operation. operation: whose output the source is.
        shape: of that output for one image, by axis; images and windows share an axis in some models.
        axes: for each axis of the recorded value its factors, outermost first, such as `(("head", 12),)`. The size of
            the factor of images is left open, as -1. Tokens that do not reach the representation are cut off.
        evidence: by label, a sentence that says by what it was found.
    """

    source: str
    kind: str
    module: str
    operation: str
    shape: tuple[int, ...]
    axes: tuple[tuple[tuple[str, int], ...], ...]
    evidence: dict[str, str]

    def __str__(self) -> str:
        """Write the axes in one line, such as `image, head 12, token 197, channel 64`."""
        return ", ".join(_in_words(axis) for axis in self.axes)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        axes = [[{"label": label, "size": None if size < 0 else size} for label, size in axis] for axis in self.axes]
        return {
            "source": self.source,
            "kind": self.kind,
            "module": self.module,
            "operation": self.operation,
            "shape": list(self.shape),
            "axes": axes,
            "evidence": self.evidence,
        }


def source_axes(paths: LinearPaths) -> tuple[SourceAxes, ...]:
    """Gather the axes of every source and of the image, in the order of the model; constants have none."""
    return tuple(_of(paths, part) for part in paths.parts if part.who.kind != CONSTANT_KIND)


def _of(paths: LinearPaths, part: Part) -> SourceAxes:
    node, images = paths.graph.leaves[part.leaf].node, len(paths.captured.trial)
    (axis,) = part.layout.axes(Axis.IMAGE)
    size = list(shape(node))
    if len(size) == len(part.layout.factors):  # else the leaf begins before or behind the node's value
        size[axis] //= images
    axes = tuple(tuple((_noun(label), count) for label, count in factors) for factors in part.layout.factors)
    found = {noun: getattr(part.evidence, noun) for noun in map(_noun, LABELS)}
    evidence = {noun: why for noun, why in found.items() if why}
    own = part.layout.axes(Axis.TOKEN)
    if own and len(size) == len(axes) and all(len(axes[a]) == 1 for a in own):
        left, whole = part.layout.count(Axis.TOKEN), prod(size[a] for a in own)
        evidence["token"] += "" if left == whole else f"; {left} of {whole} reach the representation directly"
    operation = str(packet(node) or node.target).removeprefix("aten.")
    return SourceAxes(part.who.name, part.who.kind, module_path(node), operation, tuple(size), axes, evidence)


def _noun(label: Axis) -> str:
    return Axis(label).name.lower()


def _in_words(axis: tuple[tuple[str, int], ...]) -> str:
    names = [label if size < 0 else f"{label} {size}" for label, size in axis] or ["1"]
    return names[0] if len(names) == 1 else f"({' x '.join(names)})"
