"""Granularities: into what a model is split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

from vitdecomp.errors import SpecError

By: TypeAlias = (
    "Literal['head', 'module', 'block', 'token', 'neuron', 'representation'] | tuple[Literal['head'], Literal['token']]"
)
NEURON_KINDS = ("mlp", "conv")


@dataclass(frozen=True, slots=True)
class Granularity:
    """One way to split a model into components.

    Attributes:
        heads, tokens, neurons: which axes are split.
        kinds: the kinds of which `attribute` keeps that axis apart; empty for those without such an axis.
        blocks: whether all sources of a residual block are one component.
        whole: whether everything is one component, constants included.
    """

    heads: bool = False
    tokens: bool = False
    neurons: bool = False
    blocks: bool = False
    whole: bool = False
    kinds: tuple[str, ...] = ()


BY: dict[Any, Granularity] = {
    "head": Granularity(heads=True),
    "module": Granularity(),
    "block": Granularity(blocks=True),
    "token": Granularity(tokens=True, kinds=("attn", "mlp", "conv", "embed")),
    ("head", "token"): Granularity(heads=True, tokens=True, kinds=("attn",)),
    "neuron": Granularity(heads=True, neurons=True, kinds=NEURON_KINDS),
    "representation": Granularity(whole=True),
}


def normalised(by: object) -> By:
    """Return a granularity as it stands in the table.

    Raises:
        SpecError: there is no such granularity.
    """
    for known in BY:
        if by == known or (isinstance(by, list) and tuple(by) == known):
            return cast(By, known)
    raise SpecError(f"by={by!r} is not one of {', '.join(map(repr, BY))}")
