"""Every token attends to itself alone: what takes the place of each attention."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from vitdecomp.attention.attentions import Attentions
from vitdecomp.attention.pattern_gates import matrix_axes
from vitdecomp.attention.pattern_tokens import NOWHERE, Attention
from vitdecomp.attention.written_out import applied
from vitdecomp.errors import SpecError
from vitdecomp.trace.linear_graph import resolve, run_step
from vitdecomp.trace.rule import Gate, Term, shape


@dataclass(frozen=True)
class SelfAttention:
    """An attention in which every query sees only the key that is its own token.

    Attributes:
        term: how the output is linear in the values.
        pattern: the pattern for a number of images; `None` where the output is the values as they are.
    """

    term: Term
    pattern: Callable[[int], Tensor] | None

    @classmethod
    def of(cls, attentions: Attentions, number: int) -> SelfAttention:
        """Find what takes the place of an attention.

        Raises:
            SpecError: a query that the representation depends on has no key of its own.
        """
        node, term = list(attentions.terms.items())[number]
        one = own_pattern(attentions.each[number], node)

        def pattern(images: int) -> Tensor:
            return attentions.repeated(number, one, images)

        return cls(term, None if _is_identity(one, node, term) else pattern)

    @property
    def reads(self) -> tuple[fx.Node, ...]:
        """The nodes that it reads: the values, and what their shapes depend on."""
        steps = self.term.steps[:-1]
        return tuple(dict.fromkeys(_nodes((self.term.operand, *((s.args, s.kwargs) for s in steps)))))

    def run(self, values: Mapping[Gate, Any], images: int) -> Tensor:
        """Compute the output.

        Args:
            values: of the nodes that it reads.
            images: how many there are.
        """
        x = resolve(self.term.operand, values)
        for step in self.term.steps[:-1]:
            x = run_step(step, x, values)
        if self.pattern is None:
            found: Tensor = x
            return found
        return applied(self.term.steps[-1], x, self.pattern(images).to(x))


def own_pattern(attention: Attention, node: fx.Node) -> Tensor:
    """Return the pattern for one image in which each query sees its own token; several such keys share it evenly.

    Raises:
        SpecError: a query that the representation depends on has no such key.
    """
    own = ((attention.keys == attention.queries) & (attention.queries != NOWHERE)).double()
    keys = matrix_axes(node)[1]
    count = own.sum(keys, keepdim=True)
    alone = (count == 0) & attention.read.any(keys[0], keepdim=True)
    if bool(alone.any()):
        raise SpecError(
            f"latent tokens: a query of {attention.module or 'an attention'} is no key there, so it cannot attend to "
            "itself alone"
        )
    return own / count.clamp_min(1)


def _is_identity(pattern: Tensor, node: fx.Node, term: Term) -> bool:
    """Check whether the product with a pattern of ones on the diagonal leaves values as they are."""
    values = shape(term.operand) if isinstance(term.operand, fx.Node) and len(term.steps) == 1 else None
    if values != shape(node) or matrix_axes(node) != ((-2,), (-1,)) or pattern.shape[-2] != pattern.shape[-1]:
        return False
    return bool((pattern == torch.eye(pattern.shape[-1], dtype=pattern.dtype)).all())


def _nodes(argument: Any) -> list[fx.Node]:
    """List the nodes in an argument, those of gates too."""
    match argument:
        case fx.Node():
            return [argument]
        case Gate():
            return _nodes((argument.args, argument.kwargs))
        case tuple() | list():
            return [node for each in argument for node in _nodes(each)]
        case _:
            return []
