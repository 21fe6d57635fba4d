"""Units: the components at one granularity, and how leaves are cut into them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from vitdecomp.component import Component
from vitdecomp.engine.granularity import BY, By, Granularity
from vitdecomp.engine.head_projection import Fan, find_fans
from vitdecomp.engine.partition import CHANNELS, HEADS, TOKENS, Cut, cut_parts, row
from vitdecomp.engine.push import push
from vitdecomp.engine.tangents import Chunk
from vitdecomp.errors import InputError
from vitdecomp.trace.footprint import free_bytes
from vitdecomp.trace.linear_graph import Sum, inputs
from vitdecomp.trace.paths import LinearPaths
from vitdecomp.trace.rule import Gate

EMBEDDING = Component("embed", "embed")
PUSHED_BYTES = 2**28  # how much the widest value of a push may take


@dataclass(frozen=True)
class Units:
    """All components at one granularity.

    Attributes:
        components: the components of `transform`.
        rows: the components along the third axis of `attribute`, whose fourth axis are cells.
        cuts: how each part is cut.
    """

    paths: LinearPaths
    granularity: Granularity
    components: tuple[Component, ...]
    rows: tuple[Component, ...]
    cuts: tuple[Cut, ...]

    def attributed(self, recorded: Mapping[Gate, Any], adjoints: Mapping[int, Tensor], images: int) -> Tensor:
        """<direction, contribution> from recorded leaves and their adjoints, `(n, row)` or `(n, row, cell)`."""
        index = {c: i for i, c in enumerate(self.rows)}
        kept = [cut for cut in self.cuts if not self.granularity.kinds or self._kept(cut)]
        example, length = next(iter(adjoints.values())), self._cells(kept)
        result = example.new_zeros((images, len(index) * length))
        for cut in kept:
            table = self._products(cut, recorded, adjoints[cut.part.leaf], images)
            rows = torch.tensor([index[c] for c in self._row_components(cut)])
            cells = torch.tensor([cut.cells[place] for place in cut.places])
            places = (rows[:, None] * length + cells).flatten().to(table.device)
            result.index_add_(1, places, table.flatten(1).to(result.dtype))
        return result.reshape(images, len(index), length) if self.granularity.kinds else result

    def _cells(self, cuts: Sequence[Cut]) -> int:
        """How long the axis of tokens or neurons is."""
        if self.granularity.tokens:
            return len(self.paths.axis)
        return max((len(cut.cells) for cut in cuts), default=1)

    def _products(self, cut: Cut, recorded: Mapping[Gate, Any], adjoint: Tensor, images: int) -> Tensor:
        """<adjoint, unit of a leaf>, `(n, head, cell)`."""
        part = cut.part
        if cut.axis == TOKENS and part.whole is not None:
            found = part.whole.tokens(recorded, adjoint, images)
            return found if cut.heads > 1 else found.sum(1, keepdim=True)
        value = recorded[self.paths.graph.leaves[part.leaf].value]
        return self._summed(cut, part.layout.canonical(value * adjoint, images))

    def _summed(self, cut: Cut, x: Tensor) -> Tensor:
        """A canonical product summed to `(n, head, cell)`."""
        if cut.axis == CHANNELS:
            x = x.sum(TOKENS)
            return x.reshape(len(x), 1, -1)
        kept = {a for a in (HEADS if cut.heads > 1 else None, cut.axis) if a is not None}
        x = x.sum([a for a in (HEADS, TOKENS, CHANNELS) if a not in kept])
        return x.reshape(len(x), cut.heads, len(cut.places))

    def _kept(self, cut: Cut) -> bool:
        return cut.part.who.kind in self.granularity.kinds

    def _row_components(self, cut: Cut) -> list[Component]:
        owners = [self.components[each] for each in cut.rows[:: len(cut.cells)]]
        return [row(owner) for owner in owners] if self._kept(cut) else owners

    def check_room(self, images: int, like: Tensor) -> None:
        """Raise `InputError` if the contributions to so many images are larger than the memory that is free."""
        d = self.paths.graph.shapes[-1][-1]
        needed, free = images * len(self.components) * d * like.element_size(), free_bytes(like.device)
        if free is not None and needed > free:
            raise InputError(
                f"contributions to {images} image(s), {len(self.components):,} components of {d} numbers each, take "
                f"{needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB of memory are free: give fewer images at a time, take "
                "coarser components with by=..., or ask for products with directions, attribute(images, directions)"
            )

    def pushed(
        self,
        recorded: Mapping[Gate, Any],
        images: int,
        like: Tensor,
        only: Collection[int] | None = None,
        into: Tensor | None = None,
    ) -> Tensor:
        """Contributions of all components, `(n, component, d)`.

        Args:
            recorded: the gates of a batch of n images.
            images: n.
            like: the representations.
            only: places of the components that are wanted, all others are zero; `None` for all.
            into: zeros to which the contributions are added, such as a part of a larger result.
        """
        values = like.new_zeros((images, len(self.components), like.shape[1])) if into is None else into
        for chunks in self._batches(images, like.element_size(), only):
            fans = {f.at: (f.heads, c.heads) for f in self._fans for c in chunks if c.cut.part.leaf == f.leaf}
            results = push(self.paths.graph, recorded, self._tangents(chunks, recorded, images), fans)
            for chunk in chunks:
                rows = torch.tensor(chunk.rows, device=values.device)
                values.index_add_(1, rows, results[chunk.cut.part.leaf].transpose(0, 1).to(values.dtype))
        return values

    def _tangents(self, chunks: Sequence[Chunk], recorded: Mapping[Gate, Any], images: int) -> dict[int, Tensor]:
        """What is pushed of each leaf."""
        leaves, fanned = self.paths.graph.leaves, {fan.leaf for fan in self._fans}
        return {
            leaf: chunk.tangents(leaves[leaf].value, recorded, images, apart=leaf not in fanned)
            for chunk in chunks
            for leaf in [chunk.cut.part.leaf]
        }

    def _batches(self, images: int, itemsize: int, only: Collection[int] | None) -> Iterator[list[Chunk]]:
        """Which chunks are pushed together, so that no value on the way grows beyond `PUSHED_BYTES`."""
        batch: list[Chunk] = []
        room = 0.0
        for cut in self.cuts:
            most = max(1, PUSHED_BYTES // (self._widest[cut.part.leaf] * images * itemsize))
            for chunk in _chunks(cut, only, most):
                needed = len(chunk.heads) * len(chunk.places) / most
                if batch and (room + needed > 1 or batch[-1].cut is cut):
                    yield batch
                    batch, room = [], 0.0
                batch.append(chunk)
                room += needed
        if batch:
            yield batch

    @cached_property
    def _fans(self) -> tuple[Fan, ...]:
        """The fans behind parts that are cut into heads."""
        parts = [cut.part for cut in self.cuts if cut.heads > 1]
        return find_fans(self.paths.graph, parts, len(self.paths.captured.trial))

    @cached_property
    def _widest(self) -> dict[int, int]:
        """For each leaf, the number of elements per image of the widest value behind it."""
        graph, images = self.paths.graph, len(self.paths.captured.trial)
        widest = {len(graph.values) - 1: 1}
        for i in range(len(graph.values) - 1, -1, -1):
            here = max(widest.get(i, 1), torch.Size(graph.shapes[i]).numel() // images)
            widest[i] = max(here, 1)
            for j in inputs(graph.values[i]):
                widest[j] = max(widest.get(j, 1), widest[i])
        return widest

    @cached_property
    def shares(self) -> dict[Component, tuple[Component, ...]]:
        """For each constant, the other components that reach the sum that it joins.

        A constant that joins before anything else does (class token, position embedding) goes to the embedding,
        which need not be a component: a class token's path leads past the patches.
        """
        embedding = next((c for c in self.components if c.kind == "embed"), EMBEDDING)
        own = {cut.part.leaf: [self.components[row] for row in cut.rows] for cut in self.cuts}
        upstream: dict[int, dict[Component, None]] = {}
        waiting: dict[int, dict[Component, None]] = {}  # constants on their way to the sum that they join
        shares: dict[Component, dict[Component, None]] = {}
        for i, value in enumerate(self.paths.graph.values):
            here = dict.fromkeys(own.get(i, ()))
            constant = bool(here) and next(iter(here)).is_constant
            upstream[i], waiting[i] = ({}, here) if constant else (here, {})
            for j in inputs(value):
                upstream[i].update(upstream[j])
                waiting[i].update(waiting[j])
            if isinstance(value, Sum):
                upstream[i] = upstream[i] or {embedding: None}
                for component in waiting.pop(i):
                    shares.setdefault(component, {}).update(upstream[i])
                waiting[i] = {}
        return {constant: tuple(receivers) for constant, receivers in shares.items()}


def _chunks(cut: Cut, only: Collection[int] | None, most: int) -> Iterator[Chunk]:
    """What is wanted of a part, in chunks of at most so many rows."""
    for heads, places in cut.wanted(only):
        some = min(len(heads), most)
        step = max(1, most // some)
        for low in range(0, len(heads), some):
            for start in range(0, len(places), step):
                yield Chunk(cut, heads[low : low + some], places[start : start + step])


def split(paths: LinearPaths, by: By) -> Units:
    """Cut the parts of a model into components."""
    granularity = BY[by]
    return Units(paths, granularity, *cut_parts(paths.parts, granularity))
