"""`value`: the direct path of every head with its pattern left out."""

from __future__ import annotations

from typing import ClassVar

import torch

from vitdecomp.engine.component_set import split
from vitdecomp.engine.pull import pull
from vitdecomp.heatmaps.explainer import Explainer, register_explainer
from vitdecomp.heatmaps.heatmaps import Heatmaps
from vitdecomp.heatmaps.pattern_gates import HIDDEN, pattern_gates
from vitdecomp.heatmaps.subject import Subject
from vitdecomp.trace.find import split_by_token


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
        paths = split_by_token(subject.decomposer.paths, passes=())
        units = split(paths, subject.token_granularities[-1])
        rows = [i for i in subject.chosen(units.rows) if units.rows[i].kind == "attn"]
        sources = (each for each in pattern_gates(paths.captured) if each.node not in paths.bottleneck.linearized)
        patterns = {each.gate for each in sources}
        parts, start = [], 0
        for images in paths.recorder.portions(subject.images):
            q = subject.directions[start : start + len(images)].transpose(0, 1)
            start += len(images)
            _, recorded = paths.recorder(images)
            open_ = {gate: (x > HIDDEN).to(x) if gate in patterns else x for gate, x in recorded.items()}
            sweeps = pull(paths.graph, open_, q)
            found = [units.attributed(open_, adjoints, len(images))[:, rows].sum(1) for adjoints in sweeps]
            parts.append(subject.grid.place(torch.stack(found, 1))[0])
        return self.unaudited(subject, torch.cat(parts))
