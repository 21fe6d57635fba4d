"""Heatmaps in a safetensors file: of one method, or of several side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from vitdecomp._utils.schema import Versioned
from vitdecomp._utils.tensor_file import TensorFormat
from vitdecomp.errors import InputError

if TYPE_CHECKING:
    from vitdecomp.heatmaps.heatmaps import Heatmaps

SCHEMA = 1
PARTS = ("layers", "components")


@dataclass(frozen=True, slots=True)
class Kind:
    """Describe the tensors of one method, with the names of its layers and components where it tells these."""

    method: str
    signed: bool
    layers: tuple[str, ...] = ()
    components: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Header(Versioned):
    """What stands beside all tensors.

    Attributes:
        labels: of the directions. size: of the images, along the axes of the maps. kinds: the methods.
        images: their names, if they have any.
    """

    labels: tuple[str, ...]
    size: tuple[int, ...]
    kinds: tuple[Kind, ...]
    images: tuple[str, ...]


FORMAT = TensorFormat("vitdecomp.heatmaps", "heatmaps", Header, (SCHEMA,), "make them again with `vd.explain`")


def save(maps: Mapping[str, Heatmaps], path: Path, images: tuple[str, ...] = ()) -> None:
    """Write the grids and audits of some methods, of the same images and directions.

    Raises:
        OutputError: the file cannot be written.
    """
    first = next(iter(maps.values()))
    kinds, tensors = list[Kind](), dict[str, Tensor]()
    for each in maps.values():
        parts = {kind: getattr(each, kind) for kind in PARTS if getattr(each, kind) is not None}
        kinds.append(Kind(each.method, each.signed, **{kind: part.names for kind, part in parts.items()}))
        values = {"grid": each.grid, **{f.name: getattr(each.audit, f.name) for f in fields(each.audit)}}
        values |= {kind: part.values for kind, part in parts.items()}
        tensors |= {f"{each.method}/{name}": value for name, value in values.items()}
    header = Header(SCHEMA, first.labels, first.size, tuple(kinds), images)
    FORMAT.write(path, header, {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})


def load_each(path: Path) -> dict[str, Heatmaps]:
    """Read the maps of all methods in a file.

    Raises:
        InputError, DamageError: no such file, another format, or damage.
    """
    from vitdecomp.heatmaps.heatmaps import Audit, Heatmaps
    from vitdecomp.heatmaps.parts import Parts

    held = FORMAT.read(path)
    header, found = held.header, {}
    for kind in header.kinds:
        own = {name.removeprefix(f"{kind.method}/"): x for name, x in held.tensors.items()}
        audit = Audit(**{f.name: own[f.name] for f in fields(Audit)})
        parts = {part: Parts(getattr(kind, part), own[part]) for part in PARTS if getattr(kind, part)}
        found[kind.method] = Heatmaps(own["grid"], header.size, audit, kind.method, header.labels, kind.signed, **parts)
    return found


def load(path: Path) -> Heatmaps:
    """Read a file with the maps of one method.

    Raises:
        InputError, DamageError: no such file, another format, damage, or maps of several methods.
    """
    found = load_each(path)
    if len(found) != 1:
        raise InputError(f"{path} holds maps by {', '.join(found)}: read them with vitdecomp.heatmaps.load_each")
    return next(iter(found.values()))
