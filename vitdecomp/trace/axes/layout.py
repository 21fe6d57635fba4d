"""Which axis of a leaf is the image, the head, the token, the channel: read off the graph, not off names.

The image axis comes from an experiment (which elements reach the second image's representation). Heads and
channels come from following each element's coordinates through the moves between the leaf and the first product
with a parameter: what lies along that product's channel axis is heads and channels, all else is tokens.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

import torch
from torch import Tensor, fx

from vitdecomp.errors import TraceError
from vitdecomp.trace.axes.attention_ops import behind, free_axes, heads_behind
from vitdecomp.trace.axes.coordinates import Coordinates, along_axis, coordinates_at
from vitdecomp.trace.linear_graph import IMAGE, Leaf
from vitdecomp.trace.rule import Gate, Step, module_path, shape
from vitdecomp.trace.steps import contracted_axis


class Axis(str, Enum):
    """What a factor of an axis counts; the values stand in files."""

    IMAGE = "n"
    HEAD = "h"
    TOKEN = "t"
    CHANNEL = "w"


LABELS = (Axis.IMAGE, Axis.HEAD, Axis.TOKEN, Axis.CHANNEL)
"""In the order of a value in canonical form."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """By what each label of a leaf's axes was found, in a sentence each; empty where there is no such axis."""

    image: str = ""
    head: str = ""
    token: str = ""
    channel: str = ""


NO_EVIDENCE = Evidence()


@dataclass(frozen=True, slots=True)
class Layout:
    """How a leaf's axes factor into images, heads, tokens and channels.

    Attributes:
        factors: for each axis its factors from the outermost to the innermost, as (label, size); the size of
            the image factor is -1.
    """

    factors: tuple[tuple[tuple[Axis, int], ...], ...]

    def count(self, label: Axis) -> int:
        """Count the heads, tokens or channels."""
        return torch.Size([size for axis in self.factors for name, size in axis if name == label]).numel()

    def axes(self, label: Axis) -> set[int]:
        """Return the axes that hold a label."""
        return {a for a, axis in enumerate(self.factors) if any(name == label for name, _ in axis)}

    def canonical(self, x: Tensor, images: int) -> Tensor:
        """Bring a leaf's value (leading batch axes allowed) into the order `(..., n, head, token, channel)`."""
        lead = x.shape[: x.ndim - len(self.factors)]
        flat = x.reshape(*lead, *self._sizes(images))
        order = [*range(len(lead)), *(len(lead) + i for i in self._order())]
        return flat.permute(order).reshape(*lead, images, *(self.count(label) for label in LABELS[1:]))

    def summed(self, x: Tensor, images: int, kept: Collection[Axis]) -> Tensor:
        """Sum a value over all but the images and some labels, in the order of `canonical`, with ones for the others.

        Sums come before the axes are put in order: what is left to be copied is small.
        """
        lead, labels = x.ndim - len(self.factors), [label for label, _ in self._flat()]
        flat = x.reshape(*x.shape[:lead], *self._sizes(images))
        gone = [lead + i for i, label in enumerate(labels) if label != Axis.IMAGE and label not in kept]
        flat = flat.sum(gone, keepdim=True) if gone else flat
        counts = [self.count(label) if label in kept else 1 for label in LABELS[1:]]
        order = [*range(lead), *(lead + i for i in self._order())]
        return flat.permute(order).reshape(*x.shape[:lead], images, *counts)

    def native(self, x: Tensor, images: int) -> Tensor:
        """Undo `canonical`."""
        lead = x.shape[:-4]
        order, sizes = self._order(), self._sizes(images)
        split = x.reshape(*lead, *(sizes[i] for i in order))
        back = [*range(len(lead)), *(len(lead) + order.index(i) for i in range(len(order)))]
        native = [torch.Size([images if s == -1 else s for _, s in axis]).numel() for axis in self.factors]
        return split.permute(back).reshape(*lead, *native)

    def _flat(self) -> list[tuple[Axis, int]]:
        return [factor for axis in self.factors for factor in axis]

    def _sizes(self, images: int) -> list[int]:
        return [images if size == -1 else size for _, size in self._flat()]

    def _order(self) -> list[int]:
        flat = self._flat()
        return [i for label in LABELS for i, (name, _) in enumerate(flat) if name == label]


class _Axes:
    """The factors of a shape while they are being found."""

    def __init__(self, shape: Sequence[int]) -> None:
        self.factors: list[list[tuple[Axis, int]]] = [[(Axis.TOKEN, size)] for size in shape]

    def split(self, axis: int, inner: int, size: int, label: Axis) -> None:
        """Take the factor of some size whose elements lie `inner` apart out of what is still unnamed."""
        below, found = 1, []
        for name, length in reversed(self.factors[axis]):
            part = inner // below
            inside = inner % below == 0 and length % (part * size) == 0 and below <= inner < below * length
            if name == Axis.TOKEN and inside:
                found += [(Axis.TOKEN, part), (label, size), (Axis.TOKEN, length // (part * size))]
            else:
                found.append((name, length))
            below *= length
        self.factors[axis] = [f for f in reversed(found) if f[0] != Axis.TOKEN or f[1] != 1]

    def rest(self, axis: int, label: Axis) -> None:
        """Name all that is unnamed on an axis."""
        self.factors[axis] = [(label if name == Axis.TOKEN else name, size) for name, size in self.factors[axis]]

    def freeze(self) -> Layout:
        return Layout(tuple(tuple((n, -1 if n == Axis.IMAGE else s) for n, s in axis) for axis in self.factors))


def find_layout(
    leaf: Leaf, value: Tensor, path: Coordinates | None, support: Tensor, images: int
) -> tuple[Layout, Evidence]:
    """Find the layout of one leaf, and say by what.

    Args:
        leaf: the leaf.
        value: its value on the trial batch.
        path: the path to the first product with a parameter; `None` for constants, which have tokens only.
        support: which elements reach the second image's representation.
        images: the number of images.

    Raises:
        TraceError: no axis holds all images.
    """
    axes = _Axes(value.shape)
    found = image_factor(value.shape, support, images)
    if found is None:
        raise TraceError(
            "the model takes the images of a batch apart, each on its own (unbind, or a loop over the images): let it "
            "compute them as one tensor"
        )
    axis, inner = found
    axes.split(axis, inner, images, Axis.IMAGE)
    by_image = f"axis {axis}: its elements of one image reach the representation of that image alone"
    if path is None:
        return axes.freeze(), Evidence(by_image)
    heads, channels = _name_channels(leaf, value, path, axes)
    layout = axes.freeze()
    tokens = "all that lies along neither the images nor the channels" if layout.axes(Axis.TOKEN) else ""
    return layout, Evidence(by_image, heads, tokens, channels)


def image_factor(size: Sequence[int], support: Tensor, images: int) -> tuple[int, int] | None:
    """Find the axis that holds the images, and how far apart they lie on it; `None` if there is none."""
    for axis, length in enumerate(size):
        if length % images:
            continue
        where = support.movedim(axis, 0).flatten(1).any(1).nonzero()[:, 0]
        divisors = [d for d in range(length // images, 0, -1) if (length // images) % d == 0]
        for inner in divisors:
            if bool((where // inner % images == 1).all()):
                return axis, inner
    return None


def _name_channels(leaf: Leaf, value: Tensor, path: Coordinates, axes: _Axes) -> tuple[str, str]:
    """Name heads and channels among what lies along the channel axis, and return the evidence for both."""
    moving = [a for a in range(value.ndim) if len(_distinct(path.channels[a])) > 1]
    own = _own_channels(leaf, value)
    if own is not None:
        axes.rest(own, Axis.CHANNEL)
        return "", f"axis {own}: the output of {module_path(leaf.node) or 'the patch embedding'} there"
    channels = f"{_listed(moving)} along the channels of {path.where}" if moving else ""
    attention = behind(leaf.node) if leaf.kind == "source" else None
    if attention is None:
        for axis in moving:
            _name(axes, axis, path.channels[axis], Axis.CHANNEL)
        return "", channels
    module = module_path(attention) or attention.name
    if attention is leaf.node:
        # Values in front of the pattern share the axes of its output: heads in front, channels free.
        free = free_axes(attention) if value.ndim == len(shape(attention)) else {value.ndim - 1}
        for axis in moving:
            _name(axes, axis, path.channels[axis], Axis.CHANNEL if axis in free else Axis.HEAD)
        heads = [axis for axis in moving if axis not in free]
        why = f"{_listed(heads)} along the channels of {path.where}, and in both the pattern and the values of {module}"
        return (why if heads else ""), f"{_listed([a for a in moving if a in free])} along the channels of {path.where}"
    found = _name_behind(attention, leaf.node, moving, axes)
    return (f"{_listed(found)} in which the heads of {module} come before here" if found else ""), channels


def _own_channels(leaf: Leaf, value: Tensor) -> int | None:
    """Return the axis of the channels of a patch embedding's product; later products may merge its tokens."""
    if leaf.kind != IMAGE or not isinstance(leaf.value, Gate):
        return None
    axis = contracted_axis(Step(leaf.value.fn, leaf.value.args[1:], leaf.value.kwargs))
    return None if axis is None else axis % value.ndim


def _listed(axes: Sequence[int]) -> str:
    return ("axis " if len(axes) == 1 else "axes ") + " and ".join(map(str, axes)) + ":"


def _name(axes: _Axes, axis: int, along: Tensor, label: Axis) -> None:
    places = _distinct(along)
    gaps = {int(b - a) for a, b in pairwise(places)}
    inner = gaps.pop() if len(gaps) == 1 else 1
    axes.split(axis, inner, len(places), label)


def _distinct(coordinates: Tensor) -> list[float]:
    """Return the different values, in ascending order."""
    return sorted(set(coordinates.tolist()))


def _name_behind(attention: fx.Node, node: fx.Node, moving: Sequence[int], axes: _Axes) -> list[int]:
    """Name the heads of an attention whose output was merged, activated or gated before this node.

    Returns:
        The axes that hold heads.
    """
    fields, found, several = coordinates_at(attention, node), list[int](), len(heads_behind(node))
    for axis in moving:
        if several:
            axes.split(axis, shape(node)[axis] // several, several, Axis.HEAD)
            axes.rest(axis, Axis.CHANNEL)
            found.append(axis)
            continue
        if fields is None or fields.ndim - 1 != len(axes.factors):
            axes.rest(axis, Axis.CHANNEL)
            continue
        along = along_axis(fields, axis)
        free = free_axes(attention)
        heads = [along[a] for a in range(len(along)) if a not in free and len(_distinct(along[a])) > 1]
        for head in heads:
            changes = int((head.diff() != 0).nonzero()[0]) + 1
            axes.split(axis, changes, len(_distinct(head)), Axis.HEAD)
        found += [axis] if heads else []
        axes.rest(axis, Axis.CHANNEL)
    return found
