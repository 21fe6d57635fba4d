"""Directions as tensors, and as a file of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vitdecomp._utils.files import check_file
from vitdecomp._utils.schema import Versioned
from vitdecomp._utils.tensor_file import TensorFormat
from vitdecomp.component import Component
from vitdecomp.errors import InputError
from vitdecomp.units.directions import Directions

SCHEMA = 1
COUNTS, BASES, STRENGTHS = "directions.counts", "directions.bases", "directions.strengths"
REMEDY = "find the directions again, and save them"


@dataclass(frozen=True, slots=True)
class DirectionsHeader(Versioned):
    """Hold what a file says: the component axis."""

    components: tuple[Component, ...]


FORMAT = TensorFormat("vitdecomp.directions", "directions", DirectionsHeader, (SCHEMA,), REMEDY)


def write(path: Path, directions: Directions) -> None:
    """Write a file, whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    check_file(path)
    FORMAT.write(path, DirectionsHeader(SCHEMA, directions.components), as_tensors(directions))


def read(path: Path) -> Directions:
    """Read a file.

    Raises:
        InputError: no such file, a damaged one, or one whose parts do not fit together.
    """
    file = FORMAT.read(path)
    try:
        return from_tensors(file.header.components, file.tensors)
    except ValueError as error:
        raise InputError(f"{path} holds directions that do not fit together: {error}; {REMEDY}") from error


def as_tensors(directions: Directions) -> dict[str, Tensor]:
    """Put all directions one behind the other, beside how many each component has."""
    split = [one for one in directions.components if one in directions.bases]
    none = torch.zeros(0)
    return {
        COUNTS: torch.tensor([len(directions.bases.get(one, ())) for one in directions.components]),
        BASES: torch.cat([directions.bases[one] for one in split]) if split else none[:, None],
        STRENGTHS: torch.cat([directions.strengths[one] for one in split]) if split else none,
    }


def from_tensors(components: tuple[Component, ...], tensors: Mapping[str, Tensor]) -> Directions:
    """Read what `as_tensors` wrote.

    Raises:
        ValueError: tensors are missing or do not fit together.
    """
    missing = {COUNTS, BASES, STRENGTHS} - {*tensors}
    if missing:
        raise ValueError(f"no tensor {min(missing)}")
    counts, bases, strengths = tensors[COUNTS], tensors[BASES], tensors[STRENGTHS]
    numbers = [int(count) for count in counts.flatten()]
    rows = sum(numbers)
    if len(numbers) != len(components) or min(numbers, default=0) < 0:
        raise ValueError(f"numbers of directions for {len(numbers)} of {len(components)} components")
    if bases.ndim != 2 or len(bases) != rows or strengths.shape != (rows,):
        raise ValueError(f"{rows} directions, but shapes {tuple(bases.shape)} and {tuple(strengths.shape)}")
    if not bool(bases.isfinite().all() and strengths.isfinite().all()):
        raise ValueError("a number that is not finite")
    own = list(zip(components, torch.split(bases, numbers), torch.split(strengths, numbers), strict=True))
    found = Directions(
        components,
        {one: basis for one, basis, _ in own if len(basis)},
        {one: strength for one, basis, strength in own if len(basis)},
    )
    for one, basis in found.bases.items():
        if not torch.allclose(basis @ basis.T, torch.eye(len(basis)).to(basis), atol=1e-3):
            raise ValueError(f"those of {one} are not orthonormal")
    return found
