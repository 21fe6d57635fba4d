"""Linearize the fewest gates: where the plain rule stops too late, paths go on through a frozen non-linearity.

A model that ends in an activation or an attention pool would be a sum of one or two terms. Such a bottleneck is told
from an ordinary component by an experiment: hold the values of all sources that could be linearized, exchange the
images, and see which of them had to be held for the representation to stay the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from vitdecomp.trace.activations import activation_ends, can_open
from vitdecomp.trace.axes.attention_ops import is_product_of_data, single_query
from vitdecomp.trace.capture import Captured
from vitdecomp.trace.rule import Op
from vitdecomp.trace.search import Search

Supports = Mapping[fx.Node, Tensor]  # which elements of each source reach the output
Reach = Callable[[frozenset[fx.Node]], Supports]


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """What stands between the image and everything that can be reached.

    Attributes:
        linearized: non-linear nodes that every path passes, to be walked through.
        stem: those behind which nothing but the image lies; they stay sources, as the embedding.
    """

    linearized: frozenset[fx.Node]
    stem: frozenset[fx.Node]


def find_bottleneck(captured: Captured, reach: Reach, linearized: frozenset[fx.Node]) -> Bottleneck:
    """Find the non-linearities to linearize.

    Args:
        captured: the model's graph.
        reach: the sources that are reached with some nodes linearized.
        linearized: nodes that are so already, on the user's wish.
    """
    reached = [reach(linearized)]
    cuts: list[frozenset[fx.Node]] = []
    while captured.image not in reached[-1]:  # the image itself cannot be held
        cut = _cut(captured, reached[-1])
        if not cut or cut <= linearized.union(*cuts):  # a path that does not go on through what was linearized
            break
        cuts.append(cut)
        reached.append(reach(linearized.union(*cuts)))
    useful = 0
    for k in range(len(cuts)):
        later = cuts[k + 1] if k + 1 < len(cuts) else frozenset()
        if set(reached[k + 1]) - set(reached[k]) - later - {captured.image}:
            useful = k + 1
    stem = cuts[useful] if useful < len(cuts) else frozenset()
    stem = frozenset(n for n in stem if not is_product_of_data(n))
    return Bottleneck(linearized.union(*cuts[:useful]), stem)


def _cut(captured: Captured, sources: Supports) -> frozenset[fx.Node] | None:
    """Find the sources through which every path from image to output leads; return `None` if there is another path.

    An attention with many queries may be such a source only if it is the only one: that is an attention pool, or an
    attention without a residual branch beside it, as between stages of LeViT. In a class-token model every block has
    one, and they are components.
    """
    many = {n for n in sources if _many_queries(n)}
    ends = activation_ends(captured.module.graph)
    wanted = frozenset(n for n in sources if n in many or can_open(n, ends))
    if not wanted:
        return None
    one, other = _two_batches(captured)
    before = _Hold(captured.module, wanted, {})
    output = _first(before.run(one))
    after = _Hold(captured.module, wanted, before.values)
    changed = _first(after.run(other))
    cut = frozenset(after.held)
    single = len(cut & many) <= 1 and not _in_series(n for n in cut if not is_product_of_data(n))
    return cut if _equal(output, changed) and single else None


def _two_batches(captured: Captured) -> tuple[Tensor, Tensor]:
    """Return two batches of different images: of one each, where the graph holds for any number."""
    trial = captured.trial
    return (trial, trial.roll(1, 0)) if captured.batch is not None else (trial[:1], trial[1:2])


def _in_series(nodes: Iterable[fx.Node]) -> bool:
    """Check whether one of some nodes lies behind another: then they are branches of blocks, not one bottleneck."""
    wanted = set(nodes)
    before = [i for n in wanted for i in n.all_input_nodes]
    return any(node in wanted for node in Search(before, lambda node: node.all_input_nodes))


def _many_queries(node: fx.Node) -> bool:
    return is_product_of_data(node) and not single_query(Op(node))


def _first(result: Any) -> Tensor:
    tensor: Tensor = result[0] if isinstance(result, (tuple, list)) else result
    return tensor


def _equal(a: Tensor, b: Tensor) -> bool:
    scale = torch.finfo(a.dtype).eps ** 0.75
    return torch.allclose(a, b, rtol=scale, atol=scale * float(a.abs().max()))


class _Hold(fx.Interpreter):
    """A run that keeps the values of some nodes, and holds them to given ones where they would change."""

    def __init__(self, module: fx.GraphModule, nodes: Set[fx.Node], values: dict[fx.Node, Tensor]) -> None:
        super().__init__(module)
        self.nodes, self.given = nodes, values
        self.values: dict[fx.Node, Tensor] = {}
        self.held: list[fx.Node] = []

    @torch.no_grad()
    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n not in self.nodes:
            return value
        self.values[n] = value
        if n in self.given and not _equal(self.given[n], value):
            self.held.append(n)
            return self.given[n]
        return value
