"""HeadProjections: projections of an attention's output, of which each head has channels of its own.

A head's contribution is zero but in the head's channels, so that only these and their columns of the weight need to be
multiplied: all heads together cost as much as one full product. They are told apart only there; in front of it one row
serves all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vitdecomp.trace.axes.layout import LABELS, Axis
from vitdecomp.trace.linear_graph import Apply, LinearGraph
from vitdecomp.trace.paths import Part
from vitdecomp.trace.rule import Gate
from vitdecomp.trace.steps import kind_of
from vitdecomp.trace.steps.shape import Permute, Reshape


@dataclass(frozen=True, slots=True)
class HeadProjection:
    """A product in which the heads of a leaf have blocks of channels of their own.

    Attributes:
        leaf, at: places in the graph of the leaf and of the product.
        heads: how many there are.
    """

    leaf: int
    at: int
    heads: int


def find_head_projections(graph: LinearGraph, parts: Iterable[Part], images: int) -> tuple[HeadProjection, ...]:
    """Return all projections of a graph.

    Args:
        graph: the linear map.
        parts: with their layouts.
        images: of the trial batch.
    """
    users = graph.users()
    found = []
    for part in parts:
        heads = part.layout.count(Axis.HEAD)
        place = _projection(graph, users, part, images) if heads > 1 else None
        if place is not None:
            found.append(HeadProjection(part.leaf, place, heads))
    return tuple(found)


def _projection(graph: LinearGraph, users: dict[int, list[int]], part: Part, images: int) -> int | None:
    """Find the product to which a leaf's channels lead unmixed, if they come there head by head."""
    sizes = [images, *(part.layout.count(label) for label in LABELS[1:])]
    numbers = torch.arange(sizes[1]).reshape(1, -1, 1, 1).expand(sizes)
    where, at = part.layout.native(numbers, images), part.leaf
    while len(users.get(at, ())) == 1:
        at = users[at][0]
        value = graph.values[at]
        if not isinstance(value, Apply):
            return None
        if value.step.fn is F.linear:
            channels = where.flatten(0, -2)
            blocks = torch.arange(sizes[1]).repeat_interleave(channels.shape[1] // sizes[1])
            return at if bool((channels == blocks).all()) else None
        if not isinstance(kind_of(value.step.fn), (Reshape, Permute)) or any(
            isinstance(a, Gate) for a in value.step.args
        ):
            return None
        where = value.step.fn(where, *value.step.args)
    return None


def project_heads(x: Tensor, weight: Tensor, heads: int, some: Sequence[int]) -> Tensor:
    """Products of each head's channels alone with a weight, for some heads.

    Args:
        x: `(row, ..., heads * width)`.
        weight: `(out, heads * width)`.
        heads: how many heads there are.
        some: those that are wanted.

    Returns:
        For each of them all rows, `(head and row, ..., out)`.
    """
    chosen = torch.tensor(some, device=x.device)
    own = x.reshape(-1, heads, x.shape[-1] // heads).transpose(0, 1)[chosen]
    columns = weight.reshape(len(weight), heads, -1)[:, chosen].permute(1, 2, 0)
    return torch.bmm(own, columns).reshape(len(some) * len(x), *x.shape[1:-1], len(weight))
