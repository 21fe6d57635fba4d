"""Gates in branches: where an activation, and nothing else, stands between blocks and the representation, it is opened.

The trunk is opened by `linearize`: what every path from the input to the output crosses. A branch is crossed by some
paths only, such as a transformer between two convolutions of a block (MobileViT). An activation in it that ends the
only linear ways of whole blocks is walked through as well. Attentions in branches are not: they are components.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from functools import cache

from torch import fx

from vitdecomp.trace.activations import activation_ends, can_open
from vitdecomp.trace.axes.attention_ops import is_product_of_data
from vitdecomp.trace.capture import Captured
from vitdecomp.trace.coverage import View
from vitdecomp.trace.linearize import Reach
from vitdecomp.trace.obstacles import CROSSING
from vitdecomp.trace.paths import LinearPaths
from vitdecomp.trace.rule import linear_terms, varies

Carried = Callable[[frozenset[fx.Node], fx.Node], Set[fx.Node]]
MOST = 4  # chains that are tried in vain before the rest is left as it is
Chain = tuple[fx.Node, ...]
"""Activations one behind the other, the last of which is a source."""


def every_gate(captured: Captured) -> frozenset[fx.Node]:
    """Find every operation at which a path ends and that can be walked through: attentions, activations, selections."""
    ends = activation_ends(captured.module.graph)
    nodes = (node for node in captured.module.graph.nodes if varies(node))
    return frozenset(n for n in nodes if n in ends or (can_open(n, ends) and linear_terms(n) is None))


def gates_in_branches(
    paths: LinearPaths, reach: Reach, carried: Carried, plain: frozenset[fx.Node]
) -> frozenset[fx.Node]:
    """Find activations whose opening lets paths go on to blocks that are not reached.

    Blocks behind a single gate come first: what is opened for them may give the others a way that costs nothing.

    Args:
        paths: what is reached so far.
        reach: the sources that are reached with some nodes linearized.
        carried: the nodes that something of a source comes through, with some nodes linearized.
        plain: sources that are components as long as nothing in a branch is opened; they are spared where others do.
    """
    opened, chains = paths.bottleneck.linearized, _chains(paths)
    tried = frozenset(gate for ways in chains.values() for way in ways for gate in way)
    if not tried:
        return frozenset()
    beyond = reach(opened | tried)
    single = frozenset(w[0][0] for node, w in chains.items() if node in beyond and len(w) == 1 == len(w[0]))
    if single:
        return single
    possible = {node: ways for node, ways in chains.items() if node in tried or node in beyond}
    trials = 0
    for node, ways in sorted(possible.items(), key=lambda item: (min(map(len, item[1])), len(item[1]))):
        through = carried(opened | tried, node) if node in beyond else tried
        leading = [way for way in ways if {*way} <= through]
        for way in sorted(leading, key=lambda way: (len(plain.intersection(way)), len(way))):
            if node in reach(opened.union(way)):
                return frozenset(way)
            trials += 1
            if trials == MOST:
                return frozenset()
    return frozenset()


def _chains(paths: LinearPaths) -> Mapping[fx.Node, list[Chain]]:
    """Return the chains by which each block that is not reached may be: the shortest that begins with each gate."""
    view = View(paths, explains=False)
    ends = activation_ends(paths.captured.module.graph)

    @cache
    def gates(node: fx.Node) -> list[fx.Node]:
        crossed = [o.node for o in view.obstacles.of(node) if o.how == CROSSING]
        return [n for n in crossed if can_open(n, ends) and not is_product_of_data(n)]

    @cache
    def chain(gate: fx.Node) -> Chain | None:
        if gate in view.parts:
            return (gate,)
        further = [found for found in map(chain, gates(gate)) if found]
        return (gate, *min(further, key=len)) if further else None

    found = {node: [way for way in map(chain, gates(node)) if way] for node in view.unreached()}
    return {node: ways for node, ways in found.items() if ways}
