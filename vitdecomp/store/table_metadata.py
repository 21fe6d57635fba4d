"""What the tables of a store say in words, and whether their columns are those that it should have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from vitdecomp._utils.schema import Count, checked, plain
from vitdecomp.errors import InputError
from vitdecomp.store.data_files import REMEDY
from vitdecomp.store.encodings import Encodings
from vitdecomp.store.lance import Table
from vitdecomp.store.metadata import SCHEMA, Metadata
from vitdecomp.store.schema import METADATA, list_type, plain_fields


def metadata_of(images: Table) -> Metadata:
    """Read the metadata of a store.

    Raises:
        InputError: it is something else, or damaged.
    """
    told = (images.schema.metadata or {}).get(METADATA)
    if told is None:
        raise InputError(f"{images.uri} is not a store of vitdecomp (schema {SCHEMA})")
    return Metadata.from_json(told, f"the metadata of {images.uri}")


def roots_of(images: Table) -> dict[str, str]:
    """Return where the folders of images are now, by where they were.

    Raises:
        InputError: something else stands there.
    """
    return dict(_value(images, "roots", Mapping[str, str], "{}"))


def moved_path(path: str, id_: str, roots: Mapping[str, str]) -> str:
    """Return where an image is now."""
    root = path.removesuffix(f"/{id_}")
    return f"{roots[root]}/{id_}" if root in roots else path


def count(images: Table, key: str) -> int:
    """Read a number in the configuration; 0 if there is none.

    Raises:
        InputError: something else stands there.
    """
    return int(_value(images, key, Count, "0"))


def groups_of(texts: Sequence[str | None], place: str) -> tuple[dict[str, str], ...]:
    """Read groups of images from the column that holds them.

    Raises:
        InputError: something else stands there.
    """
    kind, place = tuple[Mapping[str, str], ...], f"the groups of {place}"
    read = [plain(text, place=place, remedy=REMEDY) if text else {} for text in texts]
    return tuple(map(dict, checked(read, kind, place=place, remedy=REMEDY)))


def check_columns(images: Table, metadata: Metadata, bases: Encodings) -> None:
    """Raise `InputError` unless `images.lance` has the columns of its metadata and its encodings."""
    wanted = {field.name: field.type for field in plain_fields(metadata)}
    wanted |= {name: list_type(width, number) for name, width, number in bases.columns()}
    found: dict[str, pa.DataType] = dict(zip(images.schema.names, images.schema.types, strict=True))
    for name, kind in wanted.items():
        if found.get(name) != kind:
            told = f"has type {found[name]}, not {kind}" if name in found else "is missing"
            raise InputError(f"{images.uri} does not fit its format: the column {name} {told}; {REMEDY}")


def _value(images: Table, key: str, kind: Any, default: str) -> Any:
    place = f"{key!r} in the configuration of {images.uri}"
    value = plain(images.config.get(key, default), place=place, remedy=REMEDY)
    return checked(value, kind, place=place, remedy=REMEDY)
