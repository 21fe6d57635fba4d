"""The key of one contribution: which part of the model it comes from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from vitdecomp._utils.registry import did_you_mean
from vitdecomp._utils.schema import Count
from vitdecomp.errors import SpecError

CONSTANT_KIND = "const"


@dataclass(frozen=True, slots=True, order=True)
class Component:
    """One named part of a model.

    Attributes:
        name: unique within a decomposition, such as `blocks.3.attn.head.5`, `blocks.3.mlp`, `embed`,
            `bias.blocks.3.attn.proj` or `const.pos_embed`.
        kind: `attn`, `mlp`, `conv`, `embed`, `other`, `const`, or what a group was grouped by.
        block: path of the residual block that the component writes from, if it has one.
        module: path of the module that computes it.
        head, token, neuron: index inside the module; `None` where the component is not split that way.
    """

    name: str
    kind: str
    block: str | None = None
    module: str | None = None
    head: Count | None = None
    token: Count | None = None
    neuron: Count | None = None

    @property
    def is_constant(self) -> bool:
        """Whether this is a bias, an embedding parameter or a frozen statistic rather than a computed part."""
        return self.kind == CONSTANT_KIND

    def matches(self, patterns: str | Iterable[str]) -> bool:
        """Check whether the name matches one of the shell patterns.

        Constants carry the path of the module they belong to (`bias.blocks.3.attn.proj`), so a pattern that
        starts with a wildcard would take them for parts of that module. They answer only to `*` and to
        patterns whose first part names them (`bias.*`, `const.*`).
        """
        patterns = (patterns,) if isinstance(patterns, str) else tuple(patterns)
        if self.is_constant:
            patterns = tuple(p for p in patterns if p == "*" or not p.startswith(("*", "?", "[")))
        return any(fnmatchcase(self.name, pattern) for pattern in patterns)

    def __str__(self) -> str:
        return self.name


def matching(components: Sequence[Component], patterns: str | Sequence[str]) -> tuple[Component, ...]:
    """Choose the components that match one of some patterns, in their order.

    Raises:
        SpecError: a pattern that none matches.
    """
    wanted = (patterns,) if isinstance(patterns, str) else tuple(patterns)
    names = [component.name for component in components]
    for pattern in wanted or ("",):
        if not any(component.matches(pattern) for component in components):
            near = did_you_mean(pattern, names) or f"; names look like {', '.join(names[:3])}"
            raise SpecError(f"no component matches {pattern!r}{near}")
    return tuple(component for component in components if component.matches(wanted))


@dataclass(frozen=True, slots=True)
class Token:
    """What an index of the token axis stands for.

    Attributes:
        kind: `class`, `register` (a distillation token is one too), `patch`; `padding` for what windows are filled up
            with; `other` for a vector without a place in the input, such as one that is pooled over all tokens.
        row, column: place of a patch along the last two axes of its grid, `None` for all other kinds, and the row also
            where the grid has one axis.
        grid: how many patches there are along each axis: rows and columns of an image, frames, rows and columns of a
            video, time and frequency of a spectrogram. Hierarchical models have several grids.
        leading: place along the axes in front of the rows, such as the frame; empty for images.
    """

    kind: Literal["class", "register", "patch", "padding", "other"]
    row: int | None = None
    column: int | None = None
    grid: tuple[int, ...] | None = None
    leading: tuple[int, ...] = ()

    @classmethod
    def patch(cls, position: Sequence[int], grid: tuple[int, ...]) -> Token:
        """Make the token of a patch from its place along each axis of its grid."""
        row = position[-2] if len(position) > 1 else None
        return cls("patch", row, position[-1], grid, tuple(position[:-2]))

    @property
    def position(self) -> tuple[int, ...] | None:
        """The place of a patch along each axis of its grid, `None` for all other kinds."""
        if self.column is None:
            return None
        return (*self.leading, self.column) if self.row is None else (*self.leading, self.row, self.column)


WHOLE = Component("representation", "embed")
"""The representation itself, not split."""
