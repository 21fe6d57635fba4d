"""Fitted maps on disk: one safetensors file, with what they are for as JSON in its header."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from vitdecomp.component import Component
from vitdecomp.errors import InputError
from vitdecomp.files import atomic, check_file
from vitdecomp.origin import Origin
from vitdecomp_alignment.maps import LinearMaps, Span

SCHEMA = 1
FORMAT = "vitdecomp.alignment"


@dataclass(frozen=True, slots=True)
class MapsFile:
    """What a file holds.

    Attributes:
        aligner: the class that made the maps. settings: its arguments.
        maps: the maps. metrics: how well they fit. fingerprint: of the contributions that they were fitted to.
        origin: the model of these contributions, if it is known. target: and that whose space they are taken to.
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
    header = {
        "schema": SCHEMA,
        "aligner": content.aligner,
        "settings": dict(content.settings),
        "components": [asdict(c) for c in maps.components],
        "metrics": dict(content.metrics),
        "fingerprint": content.fingerprint,
        "origin": None if content.origin is None else asdict(content.origin),
        "target": None if content.target is None else asdict(content.target),
    }
    data = save({k: t.detach().cpu().contiguous() for k, t in tensors.items()}, {FORMAT: json.dumps(header)})
    with atomic(path) as partial:
        partial.write_bytes(data)


def read(path: Path) -> MapsFile:
    """Read a file.

    Raises:
        InputError: there is none, or it is damaged, of another format or schema, or does not fit together.
    """
    if not path.is_file():
        raise InputError(f"there are no maps at {path}: make them with `vitdecomp align`")
    try:
        with safe_open(path, framework="pt") as file:
            told = (file.metadata() or {}).get(FORMAT)
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} is damaged or no safetensors file: {error}") from error
    if told is None:
        raise InputError(f"{path} holds no maps of vitdecomp: make them with `vitdecomp align`")
    try:
        return _content(json.loads(told), tensors)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, IndexError) as error:
        raise InputError(f"{path} holds maps that do not fit together: {error}") from error


def _content(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> MapsFile:
    if header["schema"] != SCHEMA:
        raise ValueError(f"schema {header['schema']}, and this version of vitdecomp reads {SCHEMA}")
    groups = range(sum(key.endswith(".rows") for key in tensors))
    maps = LinearMaps(
        components=tuple(Component(**c) for c in header["components"]),
        shared=tensors["shared"],
        spans=tuple(Span(tensors[f"{i}.rows"], tensors.get(f"{i}.basis")) for i in groups),
        corrections=tuple(tensors[f"{i}.correction"] for i in groups),
        bias=tensors.get("bias"),
    )
    _check_names(maps, tensors)
    _check_shapes(maps)
    _check_numbers(maps)
    origin, target = (None if header[key] is None else Origin(**header[key]) for key in ("origin", "target"))
    return MapsFile(
        header["aligner"], header["settings"], maps, header["metrics"], header["fingerprint"], origin, target
    )


def _check_names(maps: LinearMaps, tensors: Mapping[str, Tensor]) -> None:
    """Raise `ValueError` for a name that occurs twice, or a tensor that nothing asks for."""
    if len({c.name for c in maps.components}) != len(maps.components):
        raise ValueError("two components with one name")
    spans = {f"{i}.{part}" for i in range(len(maps.spans)) for part in ("rows", "basis", "correction")}
    unknown = sorted(tensors.keys() - spans - {"shared", "bias"})
    if unknown:
        raise ValueError(f"tensors that belong to nothing: {', '.join(unknown)}")


def _check_shapes(maps: LinearMaps) -> None:
    """Raise `ValueError` unless every tensor has the shape that the others call for."""
    d, d_clip = maps.shared.shape
    seen = [int(row) for span in maps.spans for row in span.rows]
    if len({*seen}) != len(seen) or not {*seen} <= {*range(len(maps.components))}:
        raise ValueError("rows that are not those of the components")
    for span, correction in zip(maps.spans, maps.corrections, strict=True):
        k, r = len(span.rows), d if span.basis is None else span.basis.shape[2]
        if tuple(correction.shape) != (k, r, d_clip) or (
            span.basis is not None and tuple(span.basis.shape) != (k, d, r)
        ):
            raise ValueError(f"a correction of shape {tuple(correction.shape)} instead of {(k, r, d_clip)}")
    if maps.bias is not None and tuple(maps.bias.shape) != (d_clip,):
        raise ValueError(f"a bias of shape {tuple(maps.bias.shape)} instead of {(d_clip,)}")


def _check_numbers(maps: LinearMaps) -> None:
    """Raise `ValueError` unless all numbers are finite ones of one dtype."""
    optional = (maps.bias, *(span.basis for span in maps.spans))
    numbers = (maps.shared, *maps.corrections, *(t for t in optional if t is not None))
    if not all(t.is_floating_point() and t.dtype == maps.shared.dtype for t in numbers):
        raise ValueError(f"maps of {', '.join(sorted({str(t.dtype) for t in numbers}))}")
    if not all(bool(t.isfinite().all()) for t in numbers):
        raise ValueError("maps with NaN or infinity")
