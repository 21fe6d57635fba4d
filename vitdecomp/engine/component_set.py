"""ComponentSet: the components at one granularity, and how leaves are split into them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from vitdecomp.component import Component
from vitdecomp.engine.ahead import NOTHING, Ahead
from vitdecomp.engine.granularity import BY, By, Granularity
from vitdecomp.engine.head_projection import HeadProjection, find_head_projections
from vitdecomp.engine.partition import Partition, partition_parts, row
from vitdecomp.engine.push import push
from vitdecomp.engine.tangents import Chunk
from vitdecomp.errors import InputError
from vitdecomp.trace.axes.layout import Axis
from vitdecomp.trace.footprint import free_bytes
from vitdecomp.trace.linear_graph import Sum, inputs
from vitdecomp.trace.paths import LinearPaths
from vitdecomp.trace.rule import Gate

EMBEDDING = Component("embed", "embed")
PUSHED_BYTES: Mapping[str, int] = MappingProxyType({"cpu": 2**24})
"""How many bytes the widest value of a push may take, by the kind of device. Larger ones leave the processor's cache,
and memory that is new for every value costs more than the arithmetic."""
ELSEWHERE = 2**28  # an accelerator would be left idle by less


@dataclass(frozen=True)
class ComponentSet:
    """All components at one granularity.

    Attributes:
        components: the components of `transform`.
        rows: the components along the third axis of `attribute`, whose fourth axis are cells.
        partitions: how each part is split.
    """

    paths: LinearPaths
    granularity: Granularity
    components: tuple[Component, ...]
    rows: tuple[Component, ...]
    partitions: tuple[Partition, ...]

    def attributed(self, recorded: Mapping[Gate, Any], adjoints: Mapping[int, Tensor], images: int) -> Tensor:
        """<direction, contribution> from recorded leaves and their adjoints.

        Args:
            recorded: the gates of a batch of n images.
            adjoints: of every leaf, for some directions, `(direction, *shape of the leaf)`.
            images: n.

        Returns:
            `(n, direction, row)`, or `(n, direction, row, cell)` where one axis is kept apart.
        """
        example, count, length = next(iter(adjoints.values())), len(self.rows), self._length
        result = example.new_zeros((len(example), images, count * length))
        for partition, rows, cells in self._placed:
            table = self._products(partition, recorded, adjoints[partition.part.leaf], images)
            places = (rows[:, None] * length + cells).flatten().to(table.device)
            result.index_add_(2, places, table.flatten(2).to(result.dtype))
        found = result.transpose(0, 1)
        return torch.unflatten(found, 2, (count, length)) if self.granularity.kinds else found

    def attributed_sums(
        self, recorded: Mapping[Gate, Any], adjoints: Mapping[int, Tensor], images: int, weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Sum what `attributed` returns, which is never held as a whole.

        Args:
            recorded: the gates of a batch of n images.
            adjoints: of every leaf, for some directions.
            images: n.
            weights: of the cells in the sums over these.

        Returns:
            The sum over rows, `(n, direction, cell)`, and over cells, `(n, direction, row)`.
        """
        example = next(iter(adjoints.values()))
        by_cell = example.new_zeros((len(example), images, self._length))
        by_row = example.new_zeros((len(example), images, len(self.rows)))
        weights = weights.to(example)
        for partition, rows, cells in self._placed:
            table = self._products(partition, recorded, adjoints[partition.part.leaf], images).to(example.dtype)
            by_cell.index_add_(2, cells.to(table.device), table.sum(2))
            by_row.index_add_(2, rows.to(table.device), table @ weights[cells.to(table.device)])
        return by_cell.transpose(0, 1), by_row.transpose(0, 1)

    @property
    def _placed(self) -> Iterator[tuple[Partition, Tensor, Tensor]]:
        """Give the parts that `attributed` holds, with the rows of their heads and the cells of their places."""
        index = {c: i for i, c in enumerate(self.rows)}
        for partition in self._shown:
            rows = torch.tensor([index[c] for c in self.rows_of(partition)])
            yield partition, rows, torch.tensor([partition.cells[place] for place in partition.places])

    @property
    def _shown(self) -> list[Partition]:
        return [partition for partition in self.partitions if not self.granularity.kinds or self._kept(partition)]

    @cached_property
    def rest(self) -> tuple[Component, ...]:
        """The components without the axis that is kept apart, such as constants by token."""
        rows = (i for partition in self.partitions if not self._kept(partition) for i in partition.rows)
        return tuple(self.components[i] for i in dict.fromkeys(rows))

    def attributed_rest(self, recorded: Mapping[Gate, Any], adjoints: Mapping[int, Tensor], images: int) -> Tensor:
        """<direction, contribution> of the components in `rest`, `(n, direction, component)`; see `attributed`."""
        index, example = {c: i for i, c in enumerate(self.rest)}, next(iter(adjoints.values()))
        result = example.new_zeros((len(example), images, len(index)))
        for partition in (each for each in self.partitions if not self._kept(each)):
            table = self._products(partition, recorded, adjoints[partition.part.leaf], images).flatten(2)
            places = torch.tensor([index[self.components[i]] for i in partition.rows], device=table.device)
            result.index_add_(2, places, table.to(result.dtype))
        return result.transpose(0, 1)

    @property
    def _length(self) -> int:
        """Return how long the axis of tokens or neurons is."""
        if self.granularity.tokens:
            return len(self.paths.axis)
        return max((len(partition.cells) for partition in self._shown), default=1)

    def _products(self, partition: Partition, recorded: Mapping[Gate, Any], adjoint: Tensor, images: int) -> Tensor:
        """<adjoint, component of a leaf>, `(direction, n, head, cell)`."""
        part = partition.part
        if partition.split == Axis.TOKEN and part.whole is not None:
            found = part.whole.tokens(recorded, adjoint, images)
            return found if partition.heads > 1 else found.sum(2, keepdim=True)
        value = recorded[self.paths.graph.leaves[part.leaf].value]
        table = part.layout.summed(value * adjoint, images, partition.kept)
        return table.reshape(*table.shape[:2], partition.heads, len(partition.places))

    def _kept(self, partition: Partition) -> bool:
        return partition.part.who.kind in self.granularity.kinds

    def rows_of(self, partition: Partition) -> list[Component]:
        """Return the rows that a part is split into."""
        owners = [self.components[each] for each in partition.rows[:: len(partition.cells)]]
        return [row(owner) for owner in owners] if self._kept(partition) else owners

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
        ahead: Ahead = NOTHING,
    ) -> Tensor:
        """Contributions of all components, `(n, component, d)`.

        Args:
            recorded: the gates of a batch of n images.
            images: n.
            like: the representations.
            only: places of the components that are wanted, all others are zero; `None` for all.
            into: zeros to which the contributions are added, such as a part of a larger result.
            ahead: constants that have been pushed a part of their way, with the same weights.
        """
        values = like.new_zeros((images, len(self.components), like.shape[1])) if into is None else into
        room = PUSHED_BYTES.get(like.device.type, ELSEWHERE) // (images * like.element_size())
        for chunks in self._batches(room, only, ahead):
            heads = {chunk.partition.part.leaf: chunk.heads for chunk in chunks}
            projections = {p.at: (p.heads, heads[p.leaf]) for p in self._head_projections if p.leaf in heads}
            results = push(self.paths.graph, recorded, self._tangents(chunks, recorded, images, ahead), projections)
            for chunk in chunks:
                rows = torch.tensor(chunk.rows, device=values.device)
                values.index_add_(1, rows, results[chunk.partition.part.leaf].transpose(0, 1).to(values.dtype))
        return values

    def _tangents(
        self, chunks: Sequence[Chunk], recorded: Mapping[Gate, Any], images: int, ahead: Ahead
    ) -> dict[int, dict[int, Tensor]]:
        """Collect what is pushed of each leaf, and where it begins."""
        leaves, by_head = self.paths.graph.leaves, {p.leaf for p in self._head_projections}
        found = {}
        for chunk in chunks:
            leaf = chunk.partition.part.leaf
            if leaf in ahead.starts:
                found[leaf] = ahead.start(leaf, images)
            else:
                value = leaves[leaf].value
                found[leaf] = {leaf: chunk.tangents(value, recorded, images, apart=leaf not in by_head)}
        return found

    def _batches(self, room: int, only: Collection[int] | None, ahead: Ahead) -> Iterator[list[Chunk]]:
        """Return which chunks are pushed together, so that no value on the way has more elements for each image.

        Parts that begin side by side in the graph go together: a batch runs what is behind its first part.
        """
        batch: list[Chunk] = []
        taken = 0.0
        begins = {p.part.leaf: [*ahead.starts.get(p.part.leaf, (p.part.leaf,))] for p in self.partitions}
        for partition in sorted(self.partitions, key=lambda each: min(begins[each.part.leaf])):
            most = max(1, room // max(self._widest[at] for at in begins[partition.part.leaf]))
            for chunk in _chunks(partition, only, most):
                needed = len(chunk.heads) * len(chunk.places) / most
                if batch and (taken + needed > 1 or batch[-1].partition is partition):
                    yield batch
                    batch, taken = [], 0.0
                batch.append(chunk)
                taken += needed
        if batch:
            yield batch

    @cached_property
    def _head_projections(self) -> tuple[HeadProjection, ...]:
        """The projections behind parts that are split into heads."""
        parts = [partition.part for partition in self.partitions if partition.heads > 1]
        return find_head_projections(self.paths.graph, parts, len(self.paths.captured.trial))

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
    def bias_receivers(self) -> dict[Component, tuple[Component, ...]]:
        """For each constant, the other components that reach the sum that it joins.

        A constant that joins before anything else does (class token, position embedding) goes to the embedding,
        which need not be a component: a class token's path leads past the patches.
        """
        embedding = next((c for c in self.components if c.kind == "embed"), EMBEDDING)
        own = {partition.part.leaf: [self.components[row] for row in partition.rows] for partition in self.partitions}
        upstream: dict[int, dict[Component, None]] = {}
        waiting: dict[int, dict[Component, None]] = {}  # constants on their way to the sum that they join
        receivers: dict[Component, dict[Component, None]] = {}
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
                    receivers.setdefault(component, {}).update(upstream[i])
                waiting[i] = {}
        return {constant: tuple(several) for constant, several in receivers.items()}


def _chunks(partition: Partition, only: Collection[int] | None, most: int) -> Iterator[Chunk]:
    """Split what is wanted of a part into chunks of at most so many rows."""
    for heads, places in partition.wanted(only):
        some = min(len(heads), most)
        step = max(1, most // some)
        for low in range(0, len(heads), some):
            for start in range(0, len(places), step):
                yield Chunk(partition, heads[low : low + some], places[start : start + step])


def split(paths: LinearPaths, by: By) -> ComponentSet:
    """Split the parts of a model into components."""
    granularity = BY[by]
    return ComponentSet(paths, granularity, *partition_parts(paths.parts, granularity))
