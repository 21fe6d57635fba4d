"""Positions: which tokens of an output are decomposed, as in `blocks.8[0]`, `tokens[(2, 3)]` or `tokens[patches]`."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Sequence
from typing import Any, TypeAlias

from torch import Tensor

from vitdecomp.errors import InputError, SpecError
from vitdecomp.models.outputs import Output

Position: TypeAlias = "int | tuple[int, ...]"
Positions: TypeAlias = "Position | Sequence[Position] | str"
MEAN, PATCHES = "mean", "patches"
WORDS = (MEAN, PATCHES)
FORM = re.compile(r"(?P<name>[^\[\]]+)\[(?P<which>.*)\]")
IMAGE_AXES = ("n", "channels", "rows", "columns")
HOW = "give token numbers such as 0 or 0, 5, places of a map such as (2, 3), or one of mean, patches"


def at_positions(output: Output, positions: Positions) -> str:
    """Name some positions of an output, as in `blocks.8[0, 5]`.

    Raises:
        SpecError: no positions, or things that are none; an output without a name.
    """
    if callable(output):
        raise SpecError("positions= goes with the name of an output: let your function take them")
    if isinstance(positions, str):
        which = positions
    else:
        several = [positions] if isinstance(positions, int) or _is_place(positions) else [*positions]
        which = ", ".join(map(repr, several))
    parsed(which)
    return f"{output}[{which}]"


def split(output: str) -> tuple[str, str | None]:
    """Split the name of an output and that of its positions, if there are any."""
    found = FORM.fullmatch(output.strip())
    return (found["name"], found["which"]) if found else (output, None)


def parsed(which: str) -> str | list[Position]:
    """Read positions: a word, token numbers, or places of a map.

    Raises:
        SpecError: they are neither.
    """
    if which.strip() in WORDS:
        return which.strip()
    try:
        found = ast.literal_eval(f"[{which}]")
    except (SyntaxError, ValueError):
        found = []
    if not found or not (all(isinstance(p, int) for p in found) or all(_is_place(p) for p in found)):
        raise SpecError(f"positions {which!r}: {HOW}")
    return [*found]


def _is_place(position: Any) -> bool:
    """Check whether a position is a row and a column, or more of them, and not several tokens."""
    return isinstance(position, tuple) and len(position) > 1 and all(isinstance(p, int) for p in position)


def at(value: Any, which: str, images: Tensor) -> Tensor:
    """Take some positions of a value, one behind the other, `(n, position * d)`.

    Args:
        value: tokens `(n, token, d)`, or a map `(n, d, row, column)` or `(n, row, column, d)`.
        which: the positions.
        images: that it was computed from; their shape tells patches from other tokens.

    Raises:
        InputError: a value that has no such positions.
    """
    if isinstance(value, (tuple, list)) and value:
        value = value[0]  # modules that return more than their tokens return these first
    if not isinstance(value, Tensor) or value.ndim < 3:
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise InputError(f"[{which}]: the output has no tokens, it is {shape}: leave the positions out")
    wanted = parsed(which)
    if wanted == PATCHES and images.ndim < len(IMAGE_AXES):
        raise InputError(f"[{PATCHES}]: inputs of shape {tuple(images.shape[1:])} are no images: give token numbers")
    grid = _channels_last(value)
    sizes, tokens = grid.shape[1:-1], grid.flatten(1, -2)
    if isinstance(wanted, str):
        first = _first_patch(tokens.shape[1], images.shape[2:]) if wanted == PATCHES and value.ndim == 3 else 0
        return tokens[:, first:].mean(1)
    numbers = [_number(position, sizes, which) for position in wanted]
    return tokens[:, numbers].flatten(1) if len(numbers) > 1 else tokens[:, numbers[0]]


def _channels_last(value: Tensor) -> Tensor:
    """Put the channels of a map last; sizes of the map that are alike tell its axes."""
    if value.ndim == 3:
        return value
    last, first = len(set(value.shape[1:-1])) == 1, len(set(value.shape[2:])) == 1
    if last == first:
        raise InputError(
            f"cannot tell the channels of a map {tuple(value.shape)}: write output= as a function of (module, images)"
        )
    return value if last else value.movedim(1, -1)


def _first_patch(tokens: int, size: Sequence[int]) -> int:
    """Count the tokens in front of the patches, which are a grid of the image's shape."""
    step = math.gcd(*size)
    ratio = math.prod(side // step for side in size)
    for first in range(tokens):
        scale = round(((tokens - first) / ratio) ** (1 / len(size)))
        if scale and scale ** len(size) * ratio == tokens - first:
            return first
    raise InputError(f"[patches]: {tokens} tokens hold no grid of the image's shape: give token numbers")


def _number(position: Position, sizes: Sequence[int], which: str) -> int:
    place = (position,) if isinstance(position, int) else position
    if len(place) == 1 < len(sizes):
        raise InputError(f"[{which}]: the output is a map of {_times(sizes)}: give places such as (0, 1)")
    if len(place) != len(sizes) or not all(-size <= p < size for p, size in zip(place, sizes, strict=True)):
        kind = f"{sizes[0]} tokens" if len(sizes) == 1 else f"a map of {_times(sizes)}"
        raise InputError(f"[{which}]: the output has no position {position}, it is {kind}")
    number = 0
    for p, size in zip(place, sizes, strict=True):
        number = number * size + p % size
    return number


def _times(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes))
