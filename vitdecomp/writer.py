"""A store while it is written: some images at a time, each time whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp.bases import Bases
from vitdecomp.columns import (
    BASES,
    COMPONENT,
    HEADER,
    IMAGES,
    bases_table,
    component_column,
    component_field,
    generations,
    groups_json,
    lists,
    numbers,
    schema_of,
)
from vitdecomp.datasets.picture import Picture
from vitdecomp.encoding import PRECISIONS, Encoding, first_encoding, fitting
from vitdecomp.errors import OutputError
from vitdecomp.files import check_directory
from vitdecomp.header import SCHEMA, Header
from vitdecomp.lock import LOCK
from vitdecomp.tables import Table, local_path

TIDY = 64  # commits after which small files are merged


@dataclass(frozen=True, slots=True)
class Chunk:
    """Images that are written together.

    Attributes:
        pictures: what is known of them. paths: where they are. digests: SHA-256 of their files.
        values: contributions, `(n, component, d)`. error: of their sums, `(n,)`.
    """

    pictures: Sequence[Picture]
    paths: Sequence[str]
    digests: Sequence[str]
    values: Tensor
    error: Tensor


class StoreWriter:
    """Writes rows to a store; use it inside `locked`.

    Args:
        uri: of the store.
        options: of the object store.

    Attributes:
        header: of what is there already, if anything is.

    Raises:
        OutputError: the place holds something else or is damaged, or cannot be written.
    """

    def __init__(self, uri: str, options: Mapping[str, str] | None = None) -> None:
        self.uri = uri.rstrip("/")
        self.images = Table(f"{self.uri}/{IMAGES}", options)
        self.bases = Table(f"{self.uri}/{BASES}", options)
        self._encodings: list[Encoding] = []
        self._commits = 0
        self.header = self._earlier()

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    @property
    def complete(self) -> bool:
        """Whether the last run came to its end."""
        return self.header is not None and self.images.config.get("complete") == "true"

    @property
    def before(self) -> int:
        """Rows that were there when the present run began, by whichever process."""
        if self.header is None or self.complete:
            return len(self)
        return int(self.images.config.get("before", "0"))

    def known(self) -> dict[str, tuple[str, str]]:
        """Digests and paths of the images that are there, by their ids, in their order."""
        if self.header is None:
            return {}
        table = self.images.rows(["id", "digest", "path"])
        return {
            row: (digest, path) for row, digest, path in zip(*(column.to_pylist() for column in table), strict=True)
        }

    def moved(self, old: str, new: str) -> None:
        """Note that the images under one path are under another now."""
        roots = json.loads(self.images.config.get("roots", "{}"))
        if roots.get(old, old) != new:
            self.images.set(roots=json.dumps({**roots, old: new}))

    def write(self, header: Header, chunk: Chunk) -> None:
        """Add rows, and encode components anew that these need more for.

        Raises:
            OutputError: they cannot be written.
        """
        values = chunk.values.double().cpu().numpy()
        if self.header is None:
            self._encodings = [first_encoding(values[:, i], header.precision) for i in range(values.shape[1])]
            number = PRECISIONS[header.precision].basis
            self.bases.replace(bases_table(header, dict(enumerate(self._encodings)), number))
            self.images.replace(self._rows(header, chunk, values))
            self.header = header
        else:
            self._begin(header, values)
            self.images.append(self._rows(header, chunk, values))
        self._commits += 1
        if self._commits % TIDY == 0:
            self.tidy()

    def finish(self) -> None:
        """Merge small files, and say that all is there.

        Raises:
            OutputError: it cannot be written.
        """
        if not self.complete:
            self.tidy()
            self.images.set(complete="true")

    def tidy(self) -> None:
        """Merge small files and delete old ones."""
        alone = local_path(self.uri) is not None
        self.images.tidy(alone=alone)
        self.bases.tidy(alone=alone)

    def _earlier(self) -> Header | None:
        """What is there."""
        place = local_path(self.uri)
        if place is not None:
            check_directory(place)
        if not self.images.open():
            _check_vacant(place)
            return None
        try:
            header = Header.from_json(self.images.schema.metadata[HEADER].decode())
        except (KeyError, TypeError, ValueError) as error:
            raise OutputError(f"{self.uri} is not a store of vitdecomp (schema {SCHEMA})") from error
        damage = self.images.damage() or (self.bases.damage() if self.bases.open() else f"{self.bases.uri} is missing")
        if damage:
            raise OutputError(f"{self.uri} is damaged ({damage}): delete it, or give another place")
        return header

    def _drop_replaced(self) -> None:
        """Drop columns that a killed process had replaced already."""
        names = self.images.schema.names
        newest = generations(names, COMPONENT)
        stale = [name for name in names if (m := COMPONENT.fullmatch(name)) and int(m[2]) != newest[int(m[1])]]
        if stale:
            self.images.drop_columns(stale)

    def _begin(self, header: Header, values: Float[np.ndarray, "n component d"]) -> None:
        """Make ready for more rows: note that the store is not complete, and encode what needs it anew."""
        if self.complete:
            self.images.set(complete="false", before=str(len(self)))
        if not self._encodings:
            self._drop_replaced()
            self._encodings = Bases(self.bases, header, self.images.schema.names).all()
        changed: dict[int, tuple[Encoding, Encoding]] = {}
        for index, encoding in enumerate(self._encodings):
            new = fitting(encoding, values[:, index], header.precision)
            if new is not encoding:
                changed[index] = (encoding, new)
        if changed:
            self._encode_anew(header, changed)
            for index, (_, new) in changed.items():
                self._encodings[index] = new

    def _encode_anew(self, header: Header, changed: Mapping[int, tuple[Encoding, Encoding]]) -> None:
        """Carry the rows that are there over to other encodings: one commit, which counts or does not."""
        number = PRECISIONS[header.precision].basis
        self.bases.append(bases_table(header, {index: new for index, (_, new) in changed.items()}, number))
        schema = pa.schema([component_field(header.components[i], i, new) for i, (_, new) in changed.items()])
        old = {i: component_column(i, was.generation) for i, (was, _) in changed.items() if not was.fixed}

        def batches() -> Iterator[pa.RecordBatch]:
            for batch in self.images.batches([*old.values(), "id"]):
                columns = []
                for index, (was, new) in changed.items():
                    stored = numbers(batch.column(old[index]), was.width) if index in old else was.held(len(batch))
                    columns.append(lists(new.carried(was, stored)))
                yield pa.RecordBatch.from_arrays(columns, schema=schema)

        self.images.add_columns(schema, batches())
        if old:
            self.images.drop_columns(list(old.values()))

    def _rows(self, header: Header, chunk: Chunk, values: Float[np.ndarray, "n component d"]) -> pa.Table:
        coded = [encoding.code(values[:, i]) for i, encoding in enumerate(self._encodings)]
        plain = [
            pa.array([picture.id for picture in chunk.pictures]),
            pa.array(list(chunk.paths)),
            pa.array([picture.label for picture in chunk.pictures], pa.string()),
            pa.array([groups_json(picture.groups) for picture in chunk.pictures], pa.string()),
            pa.array(list(chunk.digests)),
            pa.array(_checksums(chunk.values)),
            pa.array(chunk.error.double().cpu().numpy()),
            lists(chunk.values.double().sum(1).float().cpu().numpy()),
            lists(np.stack([one.loss for one in coded], axis=1).astype(np.float32)),
        ]
        columns = [lists(one.stored) for one, e in zip(coded, self._encodings, strict=True) if not e.fixed]
        return pa.Table.from_arrays([*plain, *columns], schema=schema_of(header, self._encodings))


def _check_vacant(place: Path | None) -> None:
    """Refuse a folder with something else in it."""
    others = [] if place is None or not place.is_dir() else [p.name for p in place.iterdir()]
    if set(others) - {LOCK, IMAGES, BASES}:
        raise OutputError(f"{place} is not empty and no store: give a folder of its own for the result")


def _checksums(values: Tensor) -> list[str]:
    """Of each image's contributions, as they were computed."""
    rows = values.detach().cpu().contiguous()
    return [
        hashlib.blake2b(row.reshape(-1).view(torch.uint8).numpy().tobytes(), digest_size=16).hexdigest() for row in rows
    ]
