"""Cuts: how the parts of a model become components."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product

from vitdecomp.component import CONSTANT_KIND, WHOLE, Component
from vitdecomp.engine.granularity import NEURON_KINDS, Granularity
from vitdecomp.trace.axes.layout import Axis
from vitdecomp.trace.paths import Part


@dataclass(frozen=True)
class Partition:
    """How one part is split: into heads, and each of these into cells, which are tokens or neurons.

    A cell is a component even where the part has no such token: its contribution is zero. Several tokens of a part may
    be one cell, as the copies of a token in overlapping windows are.

    Attributes:
        part: what is split.
        heads: how many heads there are, 1 where they are taken together.
        split: what the cells are, tokens or channels (of all heads); `None` where there is but one.
        cells: the number of each cell, as components carry it.
        places: the cell of each token (or neuron) that the part has.
        rows: the component of each cell of each head.
    """

    part: Part
    heads: int
    split: Axis | None
    cells: tuple[int, ...]
    places: tuple[int, ...]
    rows: tuple[int, ...] = ()

    @property
    def kept(self) -> frozenset[Axis]:
        """The axes that cells and heads lie along."""
        heads = self.heads > 1 or self.split == Axis.CHANNEL
        return frozenset(axis for axis in (self.split, Axis.HEAD if heads else None) if axis is not None)

    def row(self, head: int, place: int) -> int:
        """Return the component to which a token (or neuron) of a head belongs."""
        return self.rows[head * len(self.cells) + self.places[place]]

    def wanted(self, rows: Iterable[int] | None) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        """Return the heads and places that make up some components, as products of both; all for `None`."""
        heads, places = range(self.heads), range(len(self.places))
        if rows is None:
            return [(tuple(heads), tuple(places))]
        known, grouped = {*rows}, dict[tuple[int, ...], list[int]]()
        for head in heads:
            own = tuple(place for place in places if self.row(head, place) in known)
            if own:
                grouped.setdefault(own, []).append(head)
        return [(tuple(some), own) for own, some in grouped.items()]


def partition_parts(
    parts: Sequence[Part], granularity: Granularity
) -> tuple[tuple[Component, ...], tuple[Component, ...], tuple[Partition, ...]]:
    """Return the components of a model's parts, those without their tokens or neurons, and how each part is split."""
    components: dict[Component, int] = {}
    rows: dict[Component, None] = {}
    partitions = []
    for part in parts:
        partition = _partition(part, granularity)
        own = [_component(part, granularity, h, cell) for h, cell in product(range(partition.heads), partition.cells)]
        for component in own:
            components.setdefault(component, len(components))
        partitions.append(replace(partition, rows=tuple(components[c] for c in own)))
        if not granularity.kinds:
            rows.update(dict.fromkeys(own))
        elif part.who.kind in granularity.kinds:
            rows.update(dict.fromkeys(row(c) for c in own[:: len(partition.cells)]))
    return tuple(components), tuple(rows), tuple(partitions)


def _partition(part: Part, granularity: Granularity) -> Partition:
    """Into which heads and cells a part is split; their components are not known yet."""
    kind, layout = part.who.kind, part.layout
    if kind == CONSTANT_KIND:
        return Partition(part, 1, None, (0,), (0,))
    heads = layout.count(Axis.HEAD) if granularity.heads and kind == "attn" else 1
    if granularity.tokens and (not granularity.kinds or kind in granularity.kinds):
        return Partition(part, heads, Axis.TOKEN, part.tokens.cells, part.tokens.places)
    if granularity.neurons and kind in NEURON_KINDS:
        neurons = tuple(range(layout.count(Axis.HEAD) * layout.count(Axis.CHANNEL)))
        return Partition(part, 1, Axis.CHANNEL, neurons, neurons)
    return Partition(part, heads, None, (0,), (0,))


def _component(part: Part, granularity: Granularity, head: int, cell: int) -> Component:
    who = part.who
    if granularity.whole:
        return WHOLE
    if who.kind == CONSTANT_KIND:
        return Component(who.name, who.kind, module=who.module)
    if granularity.blocks and who.block is not None:
        return Component(who.block, "block", block=who.block, module=who.block)
    component = Component(who.name, who.kind, block=who.block, module=who.module)
    if granularity.heads and who.kind == "attn":
        number = part.first_head + head
        component = replace(component, name=f"{component.name}.head.{number}", head=number)
    if granularity.tokens and who.kind in granularity.kinds:
        component = replace(component, name=f"{component.name}.token.{cell}", token=cell)
    if granularity.neurons and who.kind in NEURON_KINDS:
        component = replace(component, name=f"{component.name}.neuron.{cell}", neuron=cell)
    return component


def row(component: Component) -> Component:
    """Return the component without its token or neuron."""
    for mark in (".token.", ".neuron."):
        head, found, _ = component.name.rpartition(mark)
        if found:
            component = replace(component, name=head)
    return replace(component, token=None, neuron=None)
