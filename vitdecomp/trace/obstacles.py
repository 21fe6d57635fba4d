"""Why a block is not among the parts: what stands on every way from it to the representation, read off the graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx

from vitdecomp.trace.activations import Activation
from vitdecomp.trace.axes.attention_ops import attention_operations
from vitdecomp.trace.data_flow import GATE, NONLINEAR, OUTPUT, PRODUCT, DataFlow, Reading, acts_alone
from vitdecomp.trace.linear_graph import CONSTANT, Apply, LinearGraph
from vitdecomp.trace.operations import SDPA, factors, packet
from vitdecomp.trace.paths import LinearPaths
from vitdecomp.trace.probe import randomised
from vitdecomp.trace.recorder import Recorder
from vitdecomp.trace.rule import Gate, Op, module_path
from vitdecomp.trace.rules.attention import pattern_place
from vitdecomp.trace.search import Search, ahead
from vitdecomp.trace.walk import walk

PATTERN, VALUES, CROSSING, GATED, CUT = "pattern", "values", "crossing", "gated", "cut"
MOST = 3  # obstacles that are told


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What ends a way from a block to the representation.

    Attributes:
        how: `pattern` (the way leads into the pattern of an attention), `values` (into the values of one that is
            a source), `crossing` (through another operation that is not linear), `gated` (into a gate) or `cut` (it
            leads to the representation, which reads none of it).
        node: the operation.
        joined: whether other data was added on the way, as where a residual branch ends.
    """

    how: str
    node: fx.Node
    joined: bool = False


class _Here(NamedTuple):
    """A node on a path, whether only the block's own activation lies before it, and whether other data was added."""

    node: fx.Node
    own: bool
    joined: bool


class Obstacles:
    """Finds the obstacles in one model.

    Args:
        paths: its linear paths. flow: how its nodes read each other. ends: where its activations end.
        names: names of the attentions that are components.
    """

    def __init__(
        self,
        paths: LinearPaths,
        flow: DataFlow,
        ends: Mapping[fx.Node, Activation],
        names: Mapping[fx.Node, str],
    ) -> None:
        self.paths, self.flow, self.ends, self.names = paths, flow, ends, names
        self.attentions = set(attention_operations(paths.captured.module.graph))
        self.linearized = paths.bottleneck.linearized
        self.sources = {leaf.node for leaf in paths.graph.leaves.values() if leaf.kind != CONSTANT}

    def of(self, start: fx.Node) -> list[Obstacle]:
        """Find what ends the paths from a node, the nearest first."""
        found, behind = dict[Obstacle, None](), {*ahead(start)}

        def near(here: _Here) -> Iterator[_Here]:
            for reading in self.flow.readings(here.node):
                inside = here.own and acts_alone(reading.user)
                obstacle = self._at(reading, own=inside)
                if obstacle is not None:
                    found[replace(obstacle, joined=here.joined)] = None
                else:
                    adds = any(x not in behind for x in self.flow.operands(reading.user))
                    yield _Here(reading.user, inside, here.joined or adds)

        for _ in Search([_Here(start, own=True, joined=False)], near, key=lambda here: here.node):
            pass
        return list(found)

    def only_gates(self, start: fx.Node) -> bool:
        """Check whether what a node computes ends up in gates (squeeze-excite), whatever way it takes."""
        found = Search([start], lambda n: (r.user for r in self.flow.readings(n) if r.how != GATE))
        return not any(node.op == "output" for node in found)

    def _at(self, reading: Reading, *, own: bool) -> Obstacle | None:
        """Return the obstacle at one reading, or `None` where the path goes on; the node's `own` activation is none."""
        user = reading.user
        if reading.how == OUTPUT or _times_zero(user):
            return Obstacle(CUT, user)
        if reading.how == PRODUCT:
            return self._at_product(reading)
        if reading.how == GATE:
            return Obstacle(GATED, user)
        if user in self.linearized or own:
            return None
        return Obstacle(CROSSING, user) if reading.how == NONLINEAR or user in self.ends else None

    def _at_product(self, reading: Reading) -> Obstacle | None:
        user = reading.user
        if user not in self.attentions:
            return Obstacle(PATTERN, self._attention_behind(user))
        asks = _reads_pattern(reading)
        if user in self.linearized:
            return Obstacle(GATED, user) if asks else None
        return Obstacle(PATTERN if asks else VALUES, user)

    def _attention_behind(self, scores: fx.Node) -> fx.Node:
        """Find the attention that some scores are made for."""
        return next((node for node in ahead(scores) if node in self.attentions), scores)

    def describe(self, start: fx.Node, found: Sequence[Obstacle]) -> str:
        """Describe the obstacles in words."""
        if not found:
            return "does not reach the representation: nothing reads it"
        if all(o.how == CUT for o in found):
            return f"does not reach the representation: {self._cutter(start)}"
        ways = list(dict.fromkeys(self._phrase(o) for o in self._last(start, found)))
        more = f" and {len(ways) - MOST} more" if len(ways) > MOST else ""
        end = f"; of what goes past them, {self._cutter(start)}" if any(o.how == CUT for o in found) else ""
        return f"acts only through {', '.join(ways[:MOST])}{more}{end}"

    def _last(self, start: fx.Node, found: Sequence[Obstacle]) -> list[Obstacle]:
        """Those obstacles behind which no other one stands; attentions first.

        Where some are sources, the others are told no more: what passes them is told by the sources.
        """
        found = sorted(found, key=lambda o: (PATTERN, VALUES, CROSSING, GATED, CUT).index(o.how))
        found = [o for o in found if o.node in self.sources or o.node in self.names] or found
        kept = [o for o in found if o.how != CUT]
        nodes = {o.node for o in kept}
        last = [o for o in kept if not ({*ahead(o.node)} - {o.node}) & nodes]
        return kept if self.paths.captured.output in ahead(start, {o.node for o in last}) else last

    def _phrase(self, obstacle: Obstacle) -> str:
        node, place = obstacle.node, where(obstacle.node)
        name = self.names.get(node, place)
        match obstacle.how:
            case "pattern":
                return f"the attention pattern of {name}"
            case "values":
                return f"the values of {name} (a source itself)"
            case "gated":
                return f"{op_name(node)} in {place} (a gate)"
            case _:
                return f"{op_name(node)} in {place} (not linear, not opened)"

    def _cutter(self, start: fx.Node) -> str:
        """Name the operation behind which nothing is left of what a node computes."""
        graph, gates = self._whole
        leaf = next((i for i, v in graph.leaves.items() if v.node is start), None)
        if leaf is None:
            leaf = self._leaf_ahead(start, graph)
        if leaf is None:
            return "its way is cut off"
        last: list[int] = []

        def watch(i: int, value: Tensor) -> None:
            if not bool(value.any()) and isinstance(graph.values[i], Apply) and not last:
                last.append(i)

        graph.evaluate(gates, {leaf: torch.ones_like(gates[graph.leaves[leaf].value])}, watch)
        if not last:
            return "its way is cut off"
        node = graph.values[last[-1]].node
        verb = "multiplies it by zero" if op_name(node) in ("mul", "div") else "leaves it out"
        return f"{op_name(node)} in {where(node)} {verb}"

    @cached_property
    def _whole(self) -> tuple[LinearGraph, Mapping[Gate, Any]]:
        """The linear graph with its dead leaves, and random gates for it."""
        captured = self.paths.captured
        graph = walk(captured, self.linearized)
        _, gates = Recorder(captured, graph.gates())(captured.trial)
        source = torch.Generator().manual_seed(0)
        return graph, {gate: randomised(value, source) for gate, value in gates.items()}

    def _leaf_ahead(self, start: fx.Node, graph: LinearGraph) -> int | None:
        nodes = {leaf.node: i for i, leaf in graph.leaves.items()}
        return next((nodes[node] for node in ahead(start) if node in nodes), None)


def _times_zero(node: fx.Node) -> bool:
    return op_name(node) == "mul" and any(isinstance(a, (int, float)) and a == 0 for a in node.args)


def _reads_pattern(reading: Reading) -> bool:
    """Check whether an attention reads a node for its pattern, and not for its values."""
    user = reading.user
    if packet(user) is SDPA:
        return reading.operand is not user.args[2]
    operands = factors(user)
    return operands[pattern_place(user)] is reading.operand


def op_name(node: fx.Node) -> str:
    """Return an operation's name without its namespace and its overload."""
    target = Op(node).target
    return str(getattr(target, "overloadpacket", target)).rpartition(".")[2]


def where(node: fx.Node) -> str:
    """Name the module that calls a node."""
    return module_path(node) or "the model's own forward"
