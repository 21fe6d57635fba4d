"""A debiased module as a file: its weights, and its program as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from torch import Tensor

from vitdecomp._utils.schema import Versioned, Within
from vitdecomp._utils.tensor_file import TensorFormat
from vitdecomp.component import Component
from vitdecomp.engine.component_set import ComponentSet, split
from vitdecomp.engine.granularity import BY, normalised
from vitdecomp.engine.program_file import OTHER_VERSION, below, plain_program, read_program
from vitdecomp.engine.subset import Subset
from vitdecomp.errors import InputError
from vitdecomp.trace.cache.plain import Plain
from vitdecomp.trace.cache.sample import Sample

SCHEMA, WEIGHTS, TABLES = 2, "weights.", "tables."


@dataclass(frozen=True, slots=True)
class DebiasedHeader(Versioned):
    """What a file says.

    Attributes:
        by: the granularity. places: of the ablated components among all of them, whose names are `components`.
        ablating: whether the ablation is in force.
        sample: of the images. paths: the linear paths.
    """

    by: tuple[str, ...]
    places: tuple[Annotated[int, Within(0)], ...]
    components: tuple[str, ...]
    ablating: bool
    sample: Sample
    paths: Plain


DEBIASED = TensorFormat(
    "vitdecomp.debiased", "debiased module", DebiasedHeader, (SCHEMA,), "write it again with `vitdecomp debias --out`"
)


@dataclass(frozen=True, slots=True)
class DebiasedFile:
    """What was read: all components, those that are ablated, and the weights by their names in the module."""

    component_set: ComponentSet
    components: tuple[Component, ...]
    weights: dict[str, Tensor]
    ablating: bool


def write_debiased(module: Subset, path: Path, weights: Mapping[str, Tensor], ablating: bool) -> None:
    """Write a module.

    Raises:
        SpecError: its program cannot stand in a file.
        OutputError: the file cannot be written.
    """
    program = module.program
    kept, tables = plain_program(program.component_set.paths)
    by = next(by for by, granularity in BY.items() if granularity is program.component_set.granularity)
    header = DebiasedHeader(
        schema=SCHEMA,
        by=(by,) if isinstance(by, str) else tuple(by),
        places=program.places,
        components=tuple(program.component_set.components[place].name for place in program.places),
        ablating=ablating,
        sample=Sample.of(program.captured.trial),
        paths=kept,
    )
    named = {WEIGHTS + name: tensor for name, tensor in weights.items()}
    DEBIASED.write(path, header, {**named, **{TABLES + name: tensor for name, tensor in tables.items()}})


def read_debiased(path: Path) -> DebiasedFile:
    """Read a module.

    Raises:
        InputError: no such file, a damaged one, or one of another version.
    """
    file = DEBIASED.read(path)
    header, kept = file.header, file.header.paths
    weights = below(WEIGHTS, file.tensors)
    try:
        paths = read_program(kept, below(TABLES, file.tensors), below("model.", weights), header.sample)
        component_set = split(paths, normalised(header.by[0] if len(header.by) == 1 else header.by))
        components = tuple(component_set.components[place] for place in header.places)
    except OTHER_VERSION as error:
        raise InputError(f"{path} is of another version of vitdecomp or torch: {DEBIASED.remedy}") from error
    if tuple(component.name for component in components) != header.components:
        raise InputError(f"{path} names other components than its paths have: {DEBIASED.remedy}")
    return DebiasedFile(component_set, components, weights, header.ablating)
