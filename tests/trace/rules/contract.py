"""What tests of our own rules ask beside the contract."""

from __future__ import annotations

import torch
from torch import Tensor

from vitdecomp.testing.operation import Case
from vitdecomp.trace.capture import Captured
from vitdecomp.trace.linear_graph import CONSTANT, LinearGraph
from vitdecomp.trace.recorder import Recorder
from vitdecomp.trace.rule import linear_terms


def is_source(case: Case) -> bool:
    """Whether the rule lets the path end at a case's call."""
    return linear_terms(case.graph().captured.output) is None


def constants(case: Case) -> int:
    """How many constants the rule finds."""
    return sum(leaf.kind == CONSTANT for leaf in case.graph().linear.leaves.values())


def error_of_sum(captured: Captured, graph: LinearGraph, images: Tensor) -> float:
    """|sum of all leaves' contributions - output| / |output| of a whole model."""
    output, recorded = Recorder(captured, graph.gates())(images)
    with torch.no_grad():
        total = graph.evaluate(recorded, {i: recorded[leaf.value] for i, leaf in graph.leaves.items()})
    return float((total - output).norm() / output.norm())
