"""`value`: the direct path of every head with its pattern left out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from vitdecomp.engine.component_set import split
from vitdecomp.engine.pull import pull_together
from vitdecomp.heatmaps.explainer import Explainer, register_explainer
from vitdecomp.heatmaps.heatmaps import Heatmaps
from vitdecomp.heatmaps.pattern_gates import HIDDEN, pattern_gates
from vitdecomp.heatmaps.subject import Subject
from vitdecomp.trace.find import split_by_token
from vitdecomp.trace.paths import LinearPaths
from vitdecomp.trace.rule import Gate


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
    In the last block of CLIP this is MaskCLIP's map (arXiv 2112.01071).
    """

    name: ClassVar[str] = "value"
    takes_components: ClassVar[bool] = True

    def gates(self, subject: Subject) -> Collection[Gate]:
        """Return those of the paths."""
        return self._paths(subject).paths.recorder.gates

    def explain(self, subject: Subject) -> Heatmaps:
        """Pull the directions back to the values with every pattern at one."""
        known, n = self._paths(subject), len(subject.images)
        units = split(known.paths, subject.token_granularities[-1])
        rows = [i for i in subject.chosen(units.rows) if units.rows[i].kind == "attn"]
        opened = known.opened(subject.recorded)
        sweeps = pull_together(known.paths.graph, opened, subject.by_direction)
        found = [units.attributed(opened, adjoints, n)[:, :, rows].sum(2) for adjoints in sweeps]
        return self.unaudited(subject, subject.grid.place(torch.cat(found, 1))[0])

    @staticmethod
    def _paths(subject: Subject) -> ValuePaths:
        views = subject.decomposer.views
        return views.derived(ValuePaths, lambda: ValuePaths.of(views.paths))
