"""`value`: the direct path of every head with its pattern left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from vitdecomp.engine.component_set import split
from vitdecomp.engine.pull import pull
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

    def explain(self, subject: Subject) -> Heatmaps:
        """Pull the directions back to the values with every pattern at one."""
        known = subject.decomposer.derived(ValuePaths, lambda: ValuePaths.of(subject.decomposer.paths))
        units = split(known.paths, subject.token_granularities[-1])
        rows = [i for i in subject.chosen(units.rows) if units.rows[i].kind == "attn"]
        parts = []
        for images, q in subject.portions(known.paths.recorder):
            opened = known.opened(known.paths.recorder(images)[1])
            sweeps = pull(known.paths.graph, opened, q)
            found = [units.attributed(opened, adjoints, len(images))[:, rows].sum(1) for adjoints in sweeps]
            parts.append(subject.grid.place(torch.stack(found, 1))[0])
        return self.unaudited(subject, torch.cat(parts)[: len(subject.images)])
