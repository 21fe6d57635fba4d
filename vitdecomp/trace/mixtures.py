"""Products that look like attentions, and only weight what other blocks return: mixtures of experts or of streams.

Their weights are made of a projection, without queries and keys. What they weight comes out of non-linear blocks that
are reached no other way. So the path goes on through such a product, with its weights frozen, to the blocks; the
product that dealt the tokens out to experts is a step of theirs.

Experts are weighted by a softmax. Streams (hyper-connections, arXiv 2409.19606) are mixed by any function of a
projection, and each mixture reads the streams that the one before it has made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import fx

from vitdecomp.trace.axes.attention_ops import attention_operations, is_product_of_data, single_query
from vitdecomp.trace.data_flow import GATE, DataFlow
from vitdecomp.trace.operations import NORMS, SDPA, factors, packet
from vitdecomp.trace.rule import Op, varies
from vitdecomp.trace.rules.attention import MIXING, comes_from_product, comes_from_softmax, pattern_place
from vitdecomp.trace.search import Limit, Search, ahead


def mixtures(graph: fx.Graph) -> frozenset[fx.Node]:
    """Find the products that weight blocks which are reached no other way, and note which operand holds the weights."""
    flow = DataFlow()
    output = next(n for n in graph.nodes if n.op == "output")
    weightings = [n for n in attention_operations(graph) if is_weighting(n)]
    found = {n for n in weightings if any(output not in ahead(each, {n}) for each in _experts(flow, n))}
    weights = {n: place for n in graph.nodes if (place := _weights_of_streams(flow, n)) is not None}
    for node in weights.keys() - found:
        if any(not _reaches(flow, weights, each, node) for each in _carried(flow, node, weights)):
            node.meta[MIXING] = weights[node]
            found.add(node)
    return frozenset(found)


def is_weighting(product: fx.Node) -> bool:
    """Check whether the pattern of an attention is a softmax that no queries and keys went into."""
    if packet(product) is SDPA:
        return False
    operands = factors(product)
    if len(operands) != 2:
        return False
    pattern = operands[pattern_place(product)]
    return comes_from_softmax(pattern) and not comes_from_product(pattern)


def _weights_of_streams(flow: DataFlow, node: fx.Node) -> int | None:
    """Return which operand of a product is made of projections by functions of each element, if the other is not."""
    if not is_product_of_data(node) or packet(node) is SDPA or len(factors(node)) != 2 or single_query(Op(node)):
        return None
    made = [_made_of_projections(flow, operand) for operand in factors(node)]
    return made.index(True) if made[0] != made[1] else None


def _made_of_projections(flow: DataFlow, operand: fx.Node) -> bool:
    """Check whether an operand is a non-linear function of projections, and of nothing else that varies."""

    def near(here: fx.Node) -> list[fx.Node]:
        return [] if flow.is_projection(here) else [x for x in here.all_input_nodes if varies(x)]

    met = [*Search([operand] if varies(operand) else [], near, limit=Limit(operand, "what mixes the streams"))]
    ends = [here for here in met if not near(here)]
    known = all(map(flow.is_projection, ends)) and not any(map(_ends_weights, met))
    return known and any(flow.terms(here) is None for here in met)


def _ends_weights(node: fx.Node) -> bool:
    return is_product_of_data(node) or packet(node) in NORMS


def _experts(flow: DataFlow, product: fx.Node) -> set[fx.Node]:
    """Collect the blocks that the values of a product are linear in; what deals the tokens out is none."""
    found = _carried(flow, product, {product: pattern_place(product)})
    return {here for here in found if not is_product_of_data(here)}


def _carried(flow: DataFlow, product: fx.Node, weights: Mapping[fx.Node, int]) -> set[fx.Node]:
    """Collect what the values of a product are linear in: non-linear nodes behind projections, and the image.

    Args:
        flow: of the graph.
        product: of weights and values.
        weights: products that mix streams, and which operand of each holds the weights.
    """

    def operands(node: fx.Node) -> list[fx.Node]:
        return [factors(node)[1 - weights[node]]] if node in weights else flow.operands(node)

    def near(state: tuple[fx.Node, bool]) -> list[tuple[fx.Node, bool]]:
        here, projected = state
        return [(x, projected or flow.is_projection(here)) for x in operands(here)]

    values = (operands(product)[0], False)
    search = Search([values], near, limit=Limit(product, "the blocks that a mixture weights"))
    return {here for here, projected in search if projected and varies(here) and not operands(here)}


def _reaches(flow: DataFlow, weights: Mapping[fx.Node, int], start: fx.Node, product: fx.Node) -> bool:
    """Check whether a node reaches the output other than through a product, or as a gate, or in the weights of one."""

    def near(here: fx.Node) -> Iterator[fx.Node]:
        for reading in flow.readings(here):
            user = reading.user
            weighs = user in weights and factors(user)[weights[user]] is here
            if user is not product and reading.how != GATE and not weighs:
                yield user

    return any(here.op == "output" for here in Search([start], near))
