"""The rule: in which operand the library's own operation is linear, and as which function of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, fx

import vitdecomp as vd
from vitdecomp.trace.rule import Op, Term
from vitdecomp_tessera import library  # noqa: F401 - the operation exists once its library is imported


def shifted(x: Tensor, by: int) -> Tensor:
    """Move the first half of the channels on by so many tokens.

    The kernel itself cannot be run on a stack of values by `torch.vmap`; this can.
    """
    moving, staying = x.chunk(2, -1)
    return torch.cat([moving.roll(by, -2), staying], -1)


@vd.register_rule(torch.ops.tessera.shift_tokens)
def shift_tokens(op: Op, x: fx.Node, by: int) -> Sequence[Term]:
    """State that the output is one term, linear in the tokens."""
    return [vd.data(x).then(shifted, by)]
