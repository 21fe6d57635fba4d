"""Soft mixtures of experts: products that look like attentions, and only weight what other blocks return.

Their weights are a softmax of a projection, made without queries and keys. What they weight comes out of non-linear
blocks that are reached no other way. So the path goes on through such a product, with its weights frozen, to the
experts; the product that dealt the tokens out is a step of theirs.
"""

from __future__ import annotations

from torch import fx

from vitdecomp.trace.axes.attention_ops import attention_sites, factors, is_product_of_data
from vitdecomp.trace.data_flow import DataFlow
from vitdecomp.trace.rule import varies
from vitdecomp.trace.rules.attention import SDPA, comes_from_product, comes_from_softmax, pattern_operand

MOST = 256  # nodes between a mixture and its experts


def mixtures(graph: fx.Graph) -> frozenset[fx.Node]:
    """The products that weight blocks which are reached no other way."""
    flow = DataFlow()
    output = next(n for n in graph.nodes if n.op == "output")
    sites = [n for n in attention_sites(graph) if is_weighting(n)]
    return frozenset(n for n in sites if any(_only_through(n, block, output) for block in _blocks(flow, n)))


def is_weighting(site: fx.Node) -> bool:
    """Whether the pattern of an attention is a softmax that no queries and keys went into."""
    if getattr(site.target, "overloadpacket", None) is SDPA:
        return False
    operands = factors(site)
    if len(operands) != 2:
        return False
    pattern = operands[pattern_operand(operands)]
    return comes_from_softmax(pattern) and not comes_from_product(pattern)


def _blocks(flow: DataFlow, site: fx.Node) -> set[fx.Node]:
    """The non-linear nodes behind projections that the values of a product are linear in."""
    operands = factors(site)
    frontier = [(operands[1 - pattern_operand(operands)], False)]
    seen, found = set[fx.Node](), set[fx.Node]()
    while frontier and len(seen) < MOST:
        here, projected = frontier.pop()
        if here in seen:
            continue
        seen.add(here)
        below = flow.operands(here)
        if not below and projected and varies(here) and not is_product_of_data(here) and here.op == "call_function":
            found.add(here)
        frontier.extend((x, projected or flow.is_projection(here)) for x in below)
    return found


def _only_through(site: fx.Node, block: fx.Node, output: fx.Node) -> bool:
    frontier, seen = [block], {block, site}
    while frontier:
        for user in frontier.pop().users:
            if user is output:
                return False
            if user not in seen:
                seen.add(user)
                frontier.append(user)
    return True
