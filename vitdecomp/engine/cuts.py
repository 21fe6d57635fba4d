"""Cuts: how the parts of a model become components."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from vitdecomp.component import CONSTANT_KIND, Component
from vitdecomp.engine.granularity import NEURON_KINDS, Granularity
from vitdecomp.trace.paths import Part

HEADS, TOKENS, CHANNELS = 1, 2, 3  # axes of a leaf in canonical form, (n, head, token, channel)


@dataclass(frozen=True)
class Cut:
    """How one part is cut: into `heads` x `cells` (tokens or neurons) components, those at `places` of which it has."""

    part: Part
    heads: int
    cells: int
    axis: int | None
    rows: tuple[int, ...]
    places: Sequence[int]

    @property
    def count(self) -> int:
        """How many components the part is cut into."""
        return self.heads * self.cells


def cut_parts(
    parts: Sequence[Part], granularity: Granularity
) -> tuple[tuple[Component, ...], tuple[Component, ...], tuple[Cut, ...]]:
    """The components of a model's parts, those without their tokens or neurons, and how each part is cut."""
    components: dict[Component, int] = {}
    rows: dict[Component, None] = {}
    cuts = []
    for part in parts:
        heads, cells, axis = _counts(part, granularity)
        places = part.tokens.kept if axis == TOKENS else range(cells)
        own = [_component(part, granularity, h, c) for h in range(heads) for c in range(cells)]
        for component in own:
            components.setdefault(component, len(components))
        cut = Cut(part, heads, cells, axis, tuple(components[c] for c in own), places)
        cuts.append(cut)
        if not granularity.kinds:
            rows.update(dict.fromkeys(own))
        elif part.who.kind in granularity.kinds:
            rows.update(dict.fromkeys(row(own[h * cells]) for h in range(heads)))
    return tuple(components), tuple(rows), tuple(cuts)


def _counts(part: Part, granularity: Granularity) -> tuple[int, int, int | None]:
    """Into how many heads and cells a part is cut, and along which axis the cells lie."""
    kind, layout = part.who.kind, part.layout
    if kind == CONSTANT_KIND:
        return 1, 1, None
    heads = layout.count("h") if granularity.heads and kind == "attn" else 1
    if granularity.tokens and (not granularity.kinds or kind in granularity.kinds):
        return heads, part.tokens.count, TOKENS
    if granularity.neurons and kind in NEURON_KINDS:
        return 1, layout.count("h") * layout.count("w"), CHANNELS
    return heads, 1, None


def _component(part: Part, granularity: Granularity, head: int, cell: int) -> Component:
    who = part.who
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
    """The component without its token or neuron."""
    for mark in (".token.", ".neuron."):
        head, found, _ = component.name.rpartition(mark)
        if found:
            component = replace(component, name=head)
    return replace(component, token=None, neuron=None)
