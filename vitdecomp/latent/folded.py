"""The values and the output of an attention as one linear layer, where every token attends to itself alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, fx

from vitdecomp._utils.tolerance import TOLERANCE, relative_error
from vitdecomp.attention.differentiable import linear
from vitdecomp.attention.written_out import Here
from vitdecomp.latent.partial_run import SIZE, PartialRun
from vitdecomp.latent.self_attention import SelfAttention
from vitdecomp.trace.capture import Captured
from vitdecomp.trace.operations import MOVES, UNTAGGED, packet
from vitdecomp.trace.rule import Gate, same, shape, varies
from vitdecomp.trace.search import Search

LINEAR = torch.ops.aten.linear


@dataclass(frozen=True)
class Folded:
    """A linear layer in the place of an attention and the projections around it.

    Attributes:
        tokens: the node that the values are made of.
        weight: the product of both projections. bias: what it leaves of both biases.
        size: of the output, without its first axis.
    """

    tokens: fx.Node
    weight: Float[Tensor, "out in"]
    bias: Float[Tensor, " out"]
    size: tuple[int, ...]

    @property
    def reads(self) -> tuple[fx.Node, ...]:
        """The nodes that it reads."""
        return (self.tokens,)

    def run(self, values: Mapping[Gate, Any], images: int) -> Tensor:
        """Compute the output."""
        x = values[Gate(same, (self.tokens,))]
        found = linear(x, self.weight.to(x), self.bias.to(x))  # a module may be moved
        return found.reshape(-1, *self.size)


def fold(captured: Captured, node: fx.Node, attention: SelfAttention) -> tuple[fx.Node, Folded] | None:
    """Fold an attention with the projections around it.

    Returns:
        The output of the second projection, and the layer that takes its place; `None` where there is no such layer,
        because tokens or channels are also moved, or the projections are no linear layers.
    """
    first = attention.term.operand
    tokens = _projected(first) if isinstance(first, fx.Node) and attention.pattern is None else None
    output = _projection(node)
    if tokens is None or output is None or not all(output.meta["static"][1:]):
        return None
    region = _Region(captured, node, attention, tokens, output)
    return None if (layer := region.layer()) is None else (output, Folded(tokens, *layer, shape(output)[1:]))


def _projected(node: fx.Node) -> fx.Node | None:
    """Find what the values are a projection of, with nothing but moves in between."""
    while packet(node) is not LINEAR:
        read = [i for i in node.all_input_nodes if varies(i)]
        if len(read) != 1 or not _moves(node):
            return None
        node = read[0]
    found: fx.Node = node.args[0]  # type: ignore[assignment]
    return found


def _projection(node: fx.Node) -> fx.Node | None:
    """Find the projection of an output that nothing else reads, with nothing but moves in between."""
    while True:
        users = [user for user in node.users if varies(user)]
        if len(users) != 1:
            return None
        node = users[0]
        if packet(node) is LINEAR:
            return node
        if not _moves(node):
            return None


def _moves(node: fx.Node) -> bool:
    return packet(node) in MOVES | UNTAGGED | {None}


class _Region:
    """The nodes between tokens and the output of an attention's projection.

    Args:
        captured: the model's graph.
        node: the attention. attention: what takes its place.
        tokens: where the region begins. output: where it ends.
    """

    def __init__(
        self, captured: Captured, node: fx.Node, attention: SelfAttention, tokens: fx.Node, output: fx.Node
    ) -> None:
        self.captured, self.node, self.attention = captured, node, attention
        self.tokens, self.output = tokens, output

        def reads(each: fx.Node) -> tuple[fx.Node, ...]:
            if each is tokens or packet(each) is SIZE:
                return ()
            return attention.reads if each is node else tuple(each.all_input_nodes)

        self.computed = frozenset(Search([output], reads)) - {tokens}

    def layer(self) -> tuple[Tensor, Tensor] | None:
        """Measure the layer on unit vectors; `None` if it does not do the same on random ones."""
        if self.captured.image in self.computed:
            return None
        size = shape(self.tokens)
        d = size[-1]
        like = self.captured.trial
        units = torch.cat([torch.eye(d), torch.zeros(1, d)]).to(like)
        rows = torch.Size(size[:-1]).numel()
        try:
            found = torch.cat([self._run(some, rows) for some in torch.split(units, rows)])
            bias = found[-1]
            weight = (found[:-1] - bias).T.contiguous()
            random = torch.randn(rows, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(like)
            agree = relative_error(F.linear(random, weight, bias), self._run(random, rows)).max()
        except (IndexError, RuntimeError, TypeError, ValueError):  # rows and columns of something else
            return None
        return (weight, bias) if float(agree) <= TOLERANCE[like.dtype] else None

    def _run(self, x: Float[Tensor, "some in"], rows: int) -> Float[Tensor, "some out"]:
        """Run the region on some tokens, with zeros for all others."""
        filled = F.pad(x, (0, 0, 0, rows - len(x))).reshape(shape(self.tokens))
        run = _Attending(self, filled)
        found: Tensor = run.value(self.output)
        return found.reshape(rows, -1)[: len(x)]


class _Attending(PartialRun):
    def __init__(self, region: _Region, tokens: Tensor) -> None:
        super().__init__(
            region.captured,
            region.computed,
            {region.tokens: tokens},
            len(region.captured.trial),
            region.attention.reads,
        )
        self.region = region

    def run_node(self, n: fx.Node) -> Any:
        """Run one node, or what takes the place of the attention."""
        if n is self.region.node:
            return self.region.attention.run(Here(self.env), self.images)
        return super().run_node(n)
