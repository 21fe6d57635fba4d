"""Units: the components at one granularity, and how leaves are cut into them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from vitdecomp.component import Component
from vitdecomp.engine.cuts import CHANNELS, HEADS, TOKENS, Cut, cut_parts, row
from vitdecomp.engine.fan import Fan, find_fans
from vitdecomp.engine.granularity import BY, By, Granularity
from vitdecomp.engine.push import push
from vitdecomp.trace.layout import Layout
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
        cells = max((cut.cells for cut in kept), default=1)
        example = next(iter(adjoints.values()))
        result = example.new_zeros((images, len(index), cells))
        for cut in kept:
            table = self._products(cut, recorded, adjoints[cut.part.leaf], images)
            rows = [index[c] for c in self._row_components(cut)]
            result[:, torch.tensor(rows)[:, None], torch.tensor(cut.places)] += table
        return result if self.granularity.kinds else result[..., 0]

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
        owners = [self.components[cut.rows[h * cut.cells]] for h in range(cut.heads)]
        return [row(owner) for owner in owners] if self._kept(cut) else owners

    def pushed(
        self, recorded: Mapping[Gate, Any], images: int, like: Tensor, only: Collection[int] | None = None
    ) -> Tensor:
        """Contributions of all components, `(n, component, d)`; with `only`, of those places, zeros elsewhere."""
        values = like.new_zeros((images, len(self.components), like.shape[1]))
        for jobs in self._batches(images, like.element_size(), only):
            tangents = {cut.part.leaf: self._tangents(cut, recorded, images, some) for cut, some in jobs}
            heads = {cut.part.leaf: [unit // cut.cells for unit in some] for cut, some in jobs if cut.heads > 1}
            fans = {fan.at: (fan.heads, heads[fan.leaf]) for fan in self._fans if fan.leaf in heads}
            results = push(self.paths.graph, recorded, tangents, fans)
            for cut, some in jobs:
                rows = torch.tensor([cut.rows[unit] for unit in some], device=values.device)
                values.index_add_(1, rows, results[cut.part.leaf].transpose(0, 1).to(values.dtype))
        return values

    def _tangents(self, cut: Cut, recorded: Mapping[Gate, Any], images: int, some: Sequence[int]) -> Tensor:
        """Copies of a leaf's value, each zero but in one unit, `(unit, *shape)`."""
        whole, value = cut.part.whole, self.paths.graph.leaves[cut.part.leaf].value
        if cut.count == 1:
            alone: Tensor = recorded[value][None]
            return alone
        if cut.axis == TOKENS and whole is not None:
            units = self._masked(cut, whole.layout, whole.of(recorded), images, some)
            return torch.stack([whole.pooled(unit, recorded) for unit in units])
        return self._masked(cut, cut.part.layout, recorded[value], images, some)

    def _masked(self, cut: Cut, layout: Layout, value: Tensor, images: int, some: Sequence[int]) -> Tensor:
        canonical = layout.canonical(value, images)
        masks = torch.eye(cut.count, dtype=value.dtype, device=value.device)[list(some)]
        if cut.axis == CHANNELS:
            masks = masks.reshape(len(some), 1, canonical.shape[HEADS], 1, canonical.shape[CHANNELS])
        else:
            masks = masks.reshape(len(some), 1, cut.heads, cut.cells, 1)[..., list(cut.places), :]
        return layout.native(canonical * masks, images)

    def _batches(
        self, images: int, itemsize: int, only: Collection[int] | None
    ) -> Iterator[list[tuple[Cut, Sequence[int]]]]:
        """Which units are pushed together, so that no value on the way grows beyond `PUSHED_BYTES`."""
        batch: list[tuple[Cut, Sequence[int]]] = []
        room = 0.0
        for cut in self.cuts:
            most = max(1, PUSHED_BYTES // (self._widest[cut.part.leaf] * images * itemsize))
            has = {*cut.places}
            known = [unit for unit in range(cut.count) if unit % cut.cells in has]
            wanted = [unit for unit in known if only is None or cut.rows[unit] in only]
            for low in range(0, len(wanted), most):
                some = wanted[low : low + most]
                needed = len(some) / most
                if batch and (room + needed > 1 or batch[-1][0] is cut):
                    yield batch
                    batch, room = [], 0.0
                batch.append((cut, some))
                room += needed
        if batch:
            yield batch

    @cached_property
    def _fans(self) -> tuple[Fan, ...]:
        return find_fans(self.paths.graph, self.paths.parts, len(self.paths.captured.trial))

    @cached_property
    def _widest(self) -> dict[int, int]:
        """For each leaf, the number of elements per image of the widest value behind it."""
        graph, images = self.paths.graph, len(self.paths.captured.trial)
        widest = {len(graph.values) - 1: 1}
        for i in range(len(graph.values) - 1, -1, -1):
            here = max(widest.get(i, 1), torch.Size(self.paths.sizes[i]).numel() // images)
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


def split(paths: LinearPaths, by: By) -> Units:
    """Cut the parts of a model into components."""
    granularity = BY[by]
    return Units(paths, granularity, *cut_parts(paths.parts, granularity))
