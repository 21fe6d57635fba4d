"""The linear paths of a model: what the representation is a sum of, and the linear map from each part to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch

from vitdecomp._utils.tolerance import coarsest
from vitdecomp.trace.axes.layout import NO_EVIDENCE, Evidence, Layout
from vitdecomp.trace.axes.tokens import NO_TOKENS, TokenAxis, Tokens
from vitdecomp.trace.capture import Captured
from vitdecomp.trace.linear_graph import LinearGraph
from vitdecomp.trace.linearize import Bottleneck
from vitdecomp.trace.naming import Identity
from vitdecomp.trace.passes.partial_sums import SummedLeaf
from vitdecomp.trace.probe import Derived
from vitdecomp.trace.recorder import Recorder, finest
from vitdecomp.trace.rule import Gate, same


@dataclass(frozen=True, slots=True)
class Part:
    """A leaf of the linear graph with a name: a source, the image, or a constant.

    Attributes:
        leaf: its place in the graph.
        who: name, kind, block and module.
        layout: how its axes factor into images, heads, tokens and channels.
        tokens: where its tokens lie on the model's token axis, if attention is split by token.
        first_head: number of its first head; not 0 where several attentions share a module.
        whole: the leaf as it was, where its tokens are added up before the linear map and are wanted one by one.
        evidence: by what the layout was found.
    """

    leaf: int
    who: Identity
    layout: Layout
    tokens: Tokens = NO_TOKENS
    first_head: int = 0
    whole: SummedLeaf | None = None
    evidence: Evidence = NO_EVIDENCE


@dataclass(frozen=True)
class LinearPaths:
    """All linear paths of a model.

    Attributes:
        captured: the model's graph.
        graph: the frozen linear map from the parts to the representation, with shapes.
        parts: what the representation is a sum of: sources in the order of the model, then constants.
        bottleneck: the gates that were linearized, and the stem that was not.
        axis: the tokens of all parts, if attention is split by token.
    """

    captured: Captured
    graph: LinearGraph
    parts: tuple[Part, ...]
    bottleneck: Bottleneck
    axis: TokenAxis = field(default_factory=TokenAxis)

    @cached_property
    def recorder(self) -> Recorder:
        """Runs the model and records what the graph and its parts need."""
        whole = [gate for part in self.parts if part.whole is not None for gate in part.whole.gates]
        return Recorder(self.captured, [*dict.fromkeys([*self.graph.gates(), *whole])])

    @cached_property
    def coarsest(self) -> torch.dtype:
        """The number format on the paths with the largest rounding."""
        met = [value.node.meta.get("trial_dtype") for value in self.graph.values]
        return coarsest([self.captured.output.meta["trial_dtype"], *(dtype for dtype in met if dtype)]) or torch.float32

    @property
    def by_token(self) -> bool:
        """Whether attention is split by the token that is attended to."""
        return len(self.axis) > 0


class Trial:
    """The gates of linear graphs of one model on the trial batch, each recorded once.

    Args:
        captured: the model's graph.
    """

    def __init__(self, captured: Captured) -> None:
        self.captured, self.known = captured, Derived()
        self.format: torch.dtype | None = None

    def record(self, graph: LinearGraph) -> Derived:
        """Return the gates of a linear graph, and the representation; other gates may be there too."""
        wanted = [*graph.gates(), Gate(same, (self.captured.output,))]
        form = finest(wanted)
        if form != self.format:
            self.known, self.format = Derived(), form
        missing = [gate for gate in wanted if gate not in self.known]
        if missing:
            self.known.update(Recorder(self.captured, missing, wanted).values(self.captured.trial))
        return self.known


def on_trial(captured: Captured, graph: LinearGraph) -> Derived:
    """Record the gates of a linear graph on the trial batch, and the representation."""
    return Trial(captured).record(graph)
