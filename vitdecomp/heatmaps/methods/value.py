"""`value`: the direct path of every head with its pattern left out."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp.attention.pattern_gates import HIDDEN, pattern_gates
from vitdecomp.engine.component_set import ComponentSet, split
from vitdecomp.engine.pull import pull_together
from vitdecomp.heatmaps.explainer import Explainer, register_explainer
from vitdecomp.heatmaps.heatmaps import Heatmaps
from vitdecomp.heatmaps.parts import Parts
from vitdecomp.heatmaps.subject import Subject
from vitdecomp.trace.find import split_by_token
from vitdecomp.trace.paths import LinearPaths
from vitdecomp.trace.rule import Gate

Products: TypeAlias = 'Float[Tensor, "n direction row token"]'


@dataclass(frozen=True)
class ValuePaths:
    """The paths from the values of every attention, and the gates that hold the patterns behind them.

    Attributes:
        paths: split by token. Sums and slices are not pushed down in them, since those need the true patterns.
        patterns: of the attentions that paths begin at; those that are walked through keep theirs.
    """

    paths: LinearPaths
    patterns: frozenset[Gate]

    @classmethod
    def of(cls, paths: LinearPaths) -> ValuePaths:
        """Split the paths of a model."""
        linearized = paths.bottleneck.linearized
        patterns = frozenset(p.gate for p in pattern_gates(paths.captured) if p.node not in linearized)
        return cls(split_by_token(paths, passes=()), patterns)

    def opened(self, recorded: Mapping[Gate, Any]) -> dict[Gate, Any]:
        """Put ones in place of what a pattern shows, and zeros where it is masked."""
        return {gate: (x > HIDDEN).to(x) if gate in self.patterns else x for gate, x in recorded.items()}


@register_explainer
class Value(Explainer):
    """Sum over blocks and heads of <W_O^T J^T q, v_j>: what a head would write of token j if it looked there alone.

    J is the frozen map from a head's output to the representation, summed over queries that see the token. The pattern
    says where a head looked, the values what stands there. Attentions that pool keep their pattern, which is part of J.
    In the last block of CLIP this is MaskCLIP's map (arXiv 2112.01071). With maps by component each head has a q of its
    own.
    """

    name: ClassVar[str] = "value"
    takes_components: ClassVar[bool] = True

    def gates(self, subject: Subject) -> Collection[Gate]:
        """Return those of the paths."""
        return self._paths(subject).paths.recorder.gates

    def explain(self, subject: Subject) -> Heatmaps:
        """Pull the directions back to the values with every pattern at one."""
        known = self._paths(subject)
        units = split(known.paths, subject.token_granularities[-1])
        rows = [i for i in subject.chosen(units.rows) if units.rows[i].kind == "attn"]
        opened = known.opened(subject.recorded)
        sweeps = _apart(units, subject, opened) if subject.asked.by_component else _alike(units, subject, opened)
        maps, amounts = [], []
        for found in sweeps:
            maps.append(subject.grid.place(found[:, :, rows].sum(2))[0])
            amounts.append(subject.grid.within(found[:, :, rows]))
        components = Parts.named([units.rows[i].name for i in rows], torch.cat(amounts, 1))
        return self.unaudited(subject, torch.cat(maps, 1), components=components)

    @staticmethod
    def _paths(subject: Subject) -> ValuePaths:
        views = subject.decomposer.views
        return views.derived(ValuePaths, lambda: ValuePaths.of(views.paths))


def _alike(units: ComponentSet, subject: Subject, opened: Mapping[Gate, Any]) -> Iterator[Products]:
    """Products of the values of all heads with the same directions, some of these at a time."""
    for adjoints in pull_together(units.paths.graph, opened, subject.by_direction):
        yield units.attributed(opened, adjoints, len(subject.images))


def _apart(units: ComponentSet, subject: Subject, opened: Mapping[Gate, Any]) -> Iterator[Products]:
    """Products of the values of each head with directions of its own, which are pulled to its block alone."""
    index, n, count = {row: i for i, row in enumerate(units.rows)}, len(subject.images), len(subject.asked)
    found = subject.images.new_zeros((n, count, len(index), len(units.paths.axis)))
    for partition in (each for each in units.partitions if each.part.who.kind == "attn"):
        own, heads = replace(units, partitions=(partition,)), units.rows_of(partition)
        q = torch.cat([subject.asked.by_component[head.name].expand(n, -1, -1) for head in heads], 1).transpose(0, 1)
        sweeps = pull_together(units.paths.graph, opened, q, only=[partition.part.leaf])
        products = torch.cat([own.attributed(opened, adjoints, n) for adjoints in sweeps], 1)
        for head, some in zip(heads, torch.split(products, count, 1), strict=True):
            found[:, :, index[head]] += some[:, :, index[head]]
    yield found
