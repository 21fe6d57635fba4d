"""Heatmaps in a safetensors file: of one method, or of several side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from vitdecomp._utils.schema import Versioned
from vitdecomp._utils.tensor_file import TensorFormat
from vitdecomp.errors import InputError

if TYPE_CHECKING:
    from vitdecomp.heatmaps.heatmaps import Heatmaps

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Kind:
    """What stands beside the tensors of one method."""

    method: str
    signed: bool


@dataclass(frozen=True, slots=True)
class Header(Versioned):
    """What stands beside all tensors.

    Attributes:
        labels: of the directions. size: of the images. kinds: the methods. images: their names, if they have any.
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
    kinds = tuple(Kind(each.method, each.signed) for each in maps.values())
    tensors = {f"{each.method}/grid": each.grid for each in maps.values()}
    for each in maps.values():
        tensors |= {f"{each.method}/{f.name}": getattr(each.audit, f.name) for f in fields(each.audit)}
    header = Header(SCHEMA, first.labels, first.size, kinds, images)
    FORMAT.write(path, header, {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})


def load_each(path: Path) -> dict[str, Heatmaps]:
    """Read the maps of all methods in a file.

    Raises:
        InputError, DamageError: no such file, another format, or damage.
    """
    from vitdecomp.heatmaps.heatmaps import Audit, Heatmaps

    held = FORMAT.read(path)
    header, found = held.header, {}
    height, width = header.size
    for kind in header.kinds:
        audit = Audit(**{f.name: held.tensors[f"{kind.method}/{f.name}"] for f in fields(Audit)})
        grid = held.tensors[f"{kind.method}/grid"]
        found[kind.method] = Heatmaps(grid, (height, width), audit, kind.method, header.labels, kind.signed)
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
