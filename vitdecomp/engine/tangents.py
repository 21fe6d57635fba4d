"""Tangents: what is pushed for some components of one part, a row for each of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from vitdecomp.engine.partition import Partition
from vitdecomp.trace.axes.layout import LABELS, Axis
from vitdecomp.trace.passes.partial_sums import one_hot
from vitdecomp.trace.rule import Gate


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some heads of a part, and of each of them the same tokens (or neurons).

    Attributes:
        partition: how the part is split.
        heads: some of its heads.
        places: some of its tokens or neurons.
    """

    partition: Partition
    heads: tuple[int, ...]
    places: tuple[int, ...]

    @property
    def rows(self) -> list[int]:
        """The component of each row, head by head."""
        return [self.partition.row(head, place) for head in self.heads for place in self.places]

    def tangents(self, value: Gate, recorded: Mapping[Gate, Any], images: int, *, apart: bool) -> Tensor:
        """Copy the part's value, each copy zero but in what it stands for.

        Args:
            value: the gate that records the part.
            recorded: the gates of a batch of n images.
            images: n.
            apart: whether heads are told apart here, `(head and place, *shape)`, and not by a product behind it,
                `(place, *shape)`.
        """
        found = self._places(value, recorded, images)
        return self._by_head(found, images) if apart and self.partition.heads > 1 else found

    def _places(self, value: Gate, recorded: Mapping[Gate, Any], images: int) -> Tensor:
        """Return one row for each place, with all heads."""
        part, split = self.partition.part, self.partition.split
        if split == Axis.TOKEN and part.whole is not None:
            return part.whole.apart(recorded, images, self.places)
        whole: Tensor = recorded[value][None]
        if split is None or len(self.partition.places) == 1:
            return whole
        canonical = part.layout.canonical(whole, images)
        counted = {split, Axis.HEAD} if split == Axis.CHANNEL else {split}
        sizes = [size if label in counted else 1 for label, size in zip(LABELS, canonical.shape[1:], strict=True)]
        one = one_hot(self.places, len(self.partition.places), whole)
        return part.layout.native(canonical * one.reshape(-1, *sizes), images)

    def _by_head(self, x: Tensor, images: int) -> Tensor:
        """For each head the rows of all places, zero in all other heads."""
        layout = self.partition.part.layout
        canonical = layout.canonical(x, images)
        one = one_hot(self.heads, self.partition.heads, x)
        rows = canonical[None] * one.reshape(len(self.heads), 1, 1, -1, 1, 1)
        return layout.native(rows.flatten(0, 1), images)
