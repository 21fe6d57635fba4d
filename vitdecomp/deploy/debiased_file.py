"""A debiased module as a file: its weights, and its program as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor

from vitdecomp._utils.schema import Versioned, Within
from vitdecomp._utils.tensor_file import TensorFormat
from vitdecomp.component import Component
from vitdecomp.engine.component_set import ComponentSet, split
from vitdecomp.engine.granularity import BY, normalised
from vitdecomp.engine.subset import Subset, weight_names
from vitdecomp.errors import InputError, SpecError
from vitdecomp.trace.cache.graph import read
from vitdecomp.trace.cache.named import UnnamedError
from vitdecomp.trace.cache.plain import Plain, named_plain, revived
from vitdecomp.trace.cache.sample import Sample
from vitdecomp.trace.capture import Captured, ends

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
    names = {id(getattr(program.captured.module, at)): name for at, name in weight_names(program.captured).items()}
    try:
        kept, tables = named_plain(program.component_set.paths, names)
    except UnnamedError as error:
        raise SpecError(f"this module cannot be saved ({error}): make it again where it is needed") from error
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
    weights = _below(WEIGHTS, file.tensors)
    tables = _below(TABLES, file.tensors)
    try:
        unused = {name: torch.zeros(0) for name in kept.graph["tensors"].values() if name is not None}
        own = {**unused, **_below("model.", weights)}
        graph, nodes = read(kept.graph, tables, own)
        trial = header.sample.images(kept.batch or 3)
        paths = revived(kept, tables, nodes, Captured(graph, *ends(graph.graph), trial, kept.front_end, kept.batch))
        component_set = split(paths, normalised(header.by[0] if len(header.by) == 1 else header.by))
        components = tuple(component_set.components[place] for place in header.places)
    except (UnnamedError, LookupError, TypeError, AttributeError, StopIteration) as error:
        raise InputError(f"{path} is of another version of vitdecomp or torch: {DEBIASED.remedy}") from error
    if tuple(component.name for component in components) != header.components:
        raise InputError(f"{path} names other components than its paths have: {DEBIASED.remedy}")
    return DebiasedFile(component_set, components, weights, header.ablating)


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
