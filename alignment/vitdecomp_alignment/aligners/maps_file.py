"""Fitted maps on disk: one safetensors file, with what they are for as JSON in its header."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitdecomp._utils.files import check_file
from vitdecomp._utils.schema import Name, Versioned
from vitdecomp._utils.tensor_file import TensorFormat
from vitdecomp.component import Component
from vitdecomp.errors import InputError
from vitdecomp.provenance import Origin
from vitdecomp_alignment.aligners.maps import LinearMaps, Span

SCHEMA = 2
UNVERIFIED = 1  # the version before there was a checksum
FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
REMEDY = "make them again with `vitdecomp align`"


@dataclass(frozen=True, slots=True)
class Header(Versioned):
    """The header of a file; see `MapsFile`."""

    aligner: Name
    settings: Mapping[str, Any]
    components: tuple[Component, ...]
    metrics: Mapping[str, float]
    fingerprint: Name
    origin: Origin | None
    target: Origin | None


FORMAT = TensorFormat(
    "vitdecomp.alignment",
    "maps of vitdecomp",
    Header,
    versions=(UNVERIFIED, SCHEMA),
    remedy=REMEDY,
    unverified=(UNVERIFIED,),
)


@dataclass(frozen=True, slots=True)
class MapsFile:
    """What a file holds.

    Attributes:
        aligner: the class that made the maps. settings: its arguments.
        maps: the maps. metrics: how well they fit. fingerprint: of the contributions that they were fitted to.
        origin: the model of these contributions, if it is known. target: and that whose space they are taken to. Both
            are what the file claims: to be compared with a model that the user named, never to be loaded.
    """

    aligner: str
    settings: Mapping[str, Any]
    maps: LinearMaps
    metrics: Mapping[str, float]
    fingerprint: str
    origin: Origin | None = None
    target: Origin | None = None


def write(path: Path, content: MapsFile) -> None:
    """Write a file, whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    check_file(path)
    maps = content.maps
    tensors = {"shared": maps.shared, **({} if maps.bias is None else {"bias": maps.bias})}
    for i, (span, correction) in enumerate(zip(maps.spans, maps.corrections, strict=True)):
        basis = {} if span.basis is None else {f"{i}.basis": span.basis}
        tensors |= {f"{i}.rows": span.rows, f"{i}.correction": correction, **basis}
    header = Header(
        SCHEMA,
        aligner=content.aligner,
        settings=dict(content.settings),
        components=maps.components,
        metrics=dict(content.metrics),
        fingerprint=content.fingerprint,
        origin=content.origin,
        target=content.target,
    )
    FORMAT.write(path, header, tensors)


def read(path: Path) -> MapsFile:
    """Read a file.

    Raises:
        InputError: there is none, or it is damaged, of another format or schema, or does not fit together.
    """
    if not path.is_file():
        raise InputError(f"there are no maps at {path}: make them with `vitdecomp align`")
    file = FORMAT.read(path)
    held = file.header
    try:
        maps = _maps(held.components, file.tensors)
    except ValueError as error:
        raise InputError(f"{path} holds maps that do not fit together: {error}; {REMEDY}") from error
    return MapsFile(held.aligner, held.settings, maps, held.metrics, held.fingerprint, held.origin, held.target)


def _maps(components: tuple[Component, ...], tensors: Mapping[str, Tensor]) -> LinearMaps:
    """Read the maps that tensors hold; raise `ValueError` unless everything is there and fits."""
    groups = range(sum(key.endswith(".rows") for key in tensors))
    _check_names(components, tensors, len(groups))
    _check_numbers(tensors)
    _check_shapes(len(components), tensors, groups)
    return LinearMaps(
        components=components,
        shared=tensors["shared"],
        spans=tuple(Span(tensors[f"{i}.rows"], tensors.get(f"{i}.basis")) for i in groups),
        corrections=tuple(tensors[f"{i}.correction"] for i in groups),
        bias=tensors.get("bias"),
    )


def _check_names(components: tuple[Component, ...], tensors: Mapping[str, Tensor], groups: int) -> None:
    """Raise `ValueError` for a name that occurs twice, or a tensor that is missing, or that nothing asks for."""
    if len({c.name for c in components}) != len(components):
        raise ValueError("two components with one name")
    needed = {"shared", *(f"{i}.{part}" for i in range(groups) for part in ("rows", "correction"))}
    missing = sorted(needed - tensors.keys())
    if missing:
        raise ValueError(f"there is no tensor {missing[0]!r}")
    unknown = sorted(tensors.keys() - needed - {"bias", *(f"{i}.basis" for i in range(groups))})
    if unknown:
        raise ValueError(f"a tensor {unknown[0]!r} that belongs to nothing")


def _check_numbers(tensors: Mapping[str, Tensor]) -> None:
    """Raise `ValueError` unless rows are whole numbers, and all else are finite ones of one dtype."""
    rows = {name: tensor for name, tensor in tensors.items() if name.endswith(".rows")}
    for name, tensor in rows.items():
        if tensor.dtype != torch.int64 or tensor.ndim != 1:
            raise ValueError(f"{name} must be whole numbers in a line, not {tensor.dtype} {tuple(tensor.shape)}")
    numbers = {name: tensor for name, tensor in tensors.items() if name not in rows}
    if len({t.dtype for t in numbers.values()}) > 1 or tensors["shared"].dtype not in FLOATS:
        raise ValueError(f"maps of {', '.join(sorted({str(t.dtype) for t in numbers.values()}))}")
    for name, tensor in numbers.items():
        if not bool(tensor.isfinite().all()):
            raise ValueError(f"NaN or infinity in {name}")


def _check_shapes(components: int, tensors: Mapping[str, Tensor], groups: range) -> None:
    """Raise `ValueError` unless every tensor has the shape that the others call for."""
    shared = tuple(tensors["shared"].shape)
    if len(shared) != 2 or 0 in shared:
        raise ValueError(f"shared of shape {shared} is no map")
    d, d_clip = shared
    seen = [row for i in groups for row in tensors[f"{i}.rows"].tolist()]
    if len({*seen}) != len(seen) or not {*seen} <= {*range(components)}:
        raise ValueError("rows that are not those of the components")
    wanted: dict[str, tuple[int, ...]] = {"bias": (d_clip,)}
    for i in groups:
        basis, k = tensors.get(f"{i}.basis"), len(tensors[f"{i}.rows"])
        r = d if basis is None or basis.ndim != 3 else basis.shape[2]
        wanted |= {f"{i}.basis": (k, d, r), f"{i}.correction": (k, r, d_clip)}
    for name, shape in wanted.items():
        if name in tensors and tuple(tensors[name].shape) != shape:
            raise ValueError(f"{name} of shape {tuple(tensors[name].shape)} instead of {shape}")
