"""Soft mixtures of experts: products that look like attentions, and only weight what other blocks return.

Their weights are a softmax of a projection, made without queries and keys. What they weight comes out of non-linear
blocks that are reached no other way. So the path goes on through such a product, with its weights frozen, to the
experts; the product that dealt the tokens out is a step of theirs.
"""

from __future__ import annotations

from torch import fx

from vitdecomp.trace.axes.attention_ops import attention_operations, is_product_of_data
from vitdecomp.trace.data_flow import DataFlow
from vitdecomp.trace.operations import SDPA, factors, packet
from vitdecomp.trace.rule import varies
from vitdecomp.trace.rules.attention import comes_from_product, comes_from_softmax, pattern_operand
from vitdecomp.trace.search import Limit, Search, ahead


def mixtures(graph: fx.Graph) -> frozenset[fx.Node]:
    """Find the products that weight blocks which are reached no other way."""
    flow = DataFlow()
    output = next(n for n in graph.nodes if n.op == "output")
    weightings = [n for n in attention_operations(graph) if is_weighting(n)]
    return frozenset(n for n in weightings if any(_only_through(n, block, output) for block in _blocks(flow, n)))


def is_weighting(product: fx.Node) -> bool:
    """Check whether the pattern of an attention is a softmax that no queries and keys went into."""
    if packet(product) is SDPA:
        return False
    operands = factors(product)
    if len(operands) != 2:
        return False
    pattern = operands[pattern_operand(operands)]
    return comes_from_softmax(pattern) and not comes_from_product(pattern)


def _blocks(flow: DataFlow, product: fx.Node) -> set[fx.Node]:
    """Collect the non-linear nodes behind projections that the values of a product are linear in."""
    operands = factors(product)

    def near(state: tuple[fx.Node, bool]) -> list[tuple[fx.Node, bool]]:
        here, projected = state
        return [(x, projected or flow.is_projection(here)) for x in flow.operands(here)]

    values = (operands[1 - pattern_operand(operands)], False)
    search = Search([values], near, limit=Limit(product, "the experts that a mixture weights"))
    return {here for here, projected in search if projected and not flow.operands(here) and _is_block(here)}


def _is_block(node: fx.Node) -> bool:
    return node.op == "call_function" and varies(node) and not is_product_of_data(node)


def _only_through(product: fx.Node, block: fx.Node, output: fx.Node) -> bool:
    return output not in ahead(block, {product})
