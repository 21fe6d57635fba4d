"""Contributions on disk, read a few images or a few components at a time; `vitdecomp extract` writes them."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp._utils.checksum import digest
from vitdecomp._utils.registry import did_you_mean
from vitdecomp._utils.summary import kinds, summary
from vitdecomp.component import Component
from vitdecomp.contributions import Contributions
from vitdecomp.errors import InputError, SpecError
from vitdecomp.provenance import Origin
from vitdecomp.sources.source import Block
from vitdecomp.store.data_files import local_path
from vitdecomp.store.embeddings import Embeddings
from vitdecomp.store.encodings import Encodings
from vitdecomp.store.lance import Table
from vitdecomp.store.metadata import Metadata
from vitdecomp.store.schema import BASES, IMAGES, check_filled, joined, numbers, shared
from vitdecomp.store.seal import open_complete
from vitdecomp.store.stored import Stored
from vitdecomp.store.table_metadata import check_columns, groups_of, metadata_of, moved_path, roots_of

UNFINISHED = "more images are being added, or a process was killed: run the same `vitdecomp extract` again"
AT_ONCE = 16384  # rows whose losses or checksums are looked at together
KEPT = 2**29  # bytes of columns that are kept in memory when single rows are asked for


class Store:
    """The contributions of images, in the order in which they were written; a source that is read by columns too.

    Nothing but the rows and columns that are asked for is read, except that a store of less than half a gigabyte
    is kept in memory from the first time that scattered rows are asked for. What is read is compared with its
    checksums, once. While images are added, the last complete version is read.

    Args:
        place: what `vitdecomp extract` wrote: a folder, or a URI such as `s3://bucket/store.lance`.
        options: of the object store, as Lance takes them (`storage_options`).
        verify: whether checksums of the data are compared; default: if they are on this machine. An object store keeps
            checksums of its own, and whole files would have to be fetched.

    Attributes:
        metadata: which contributions of which model.
        unfinished: whether images are being added, or were when a process was killed: the same command goes on.

    Raises:
        InputError: there is no store, or an unfinished one.
        DamageError: it is damaged.
    """

    def __init__(
        self, place: Path | str, options: Mapping[str, str] | None = None, *, verify: bool | None = None
    ) -> None:
        self.uri = str(place).rstrip("/")
        self._images = Table(f"{self.uri}/{IMAGES}", options)
        self._table = Table(f"{self.uri}/{BASES}", options)
        here = local_path(self.uri)
        if here is not None and here.is_file():
            raise InputError(f"{self.uri} is a file, not a store: `vitdecomp extract` writes folders")
        if not self._images.open():
            raise InputError(f"there are no contributions in {self.uri}: make them with `vitdecomp extract`")
        metadata_of(self._images)  # of another table nothing else is looked at
        self.unfinished = open_complete(self._images, self._table, verify=verify)
        self.metadata = metadata_of(self._images)
        self._encodings = Encodings(self._table, self.metadata, self._images.schema.names)
        check_columns(self._images, self.metadata, self._encodings)
        self._others = Embeddings(self._images, self._table, self.uri)
        self._places = {component: i for i, component in enumerate(self.components)}
        self._dtype: torch.dtype = getattr(torch, self.metadata.dtype)
        self._stored = Stored(self._images, self._encodings, self.dimension, KEPT)

    @property
    def header(self) -> Metadata:
        """Return `metadata` under its old name."""
        warnings.warn("Store.header is deprecated: use Store.metadata", DeprecationWarning, stacklevel=2)
        return self.metadata

    @property
    def components(self) -> tuple[Component, ...]:
        """The component axis."""
        return self.metadata.components

    @property
    def dimension(self) -> int:
        """Length of a contribution."""
        return self.metadata.dimension

    @property
    def origin(self) -> Origin:
        """Which model's vectors these are parts of."""
        return self.metadata.origin

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Names of the images, unique in the store."""
        return tuple(self._column("id"))

    @cached_property
    def paths(self) -> tuple[Path, ...]:
        """The images' files, where they were last seen."""
        return tuple(path for _, path in self.names(range(len(self))))

    def names(self, rows: Sequence[int]) -> tuple[tuple[str, Path], ...]:
        """Return the id and the file of some images; nothing is read of the others.

        Raises:
            InputError: there are not so many images.
        """
        self._check(rows)
        roots, read = roots_of(self._images), self._images.rows(["id", "path"], rows)
        for column in read.columns:
            check_filled(column)
        found = read.to_pylist()
        return tuple((row["id"], Path(moved_path(row["path"], row["id"], roots))) for row in found)

    @cached_property
    def labels(self) -> tuple[str | None, ...]:
        """Classes of the images, where they are known."""
        return tuple(self._column("label"))

    def labels_of(self, rows: range) -> tuple[str | None, ...]:
        """Return the classes of some consecutive images; nothing is read of the others.

        Raises:
            InputError: there are not so many images.
        """
        self._check(rows)
        return tuple(self._images.rows(["label"], rows)["label"].to_pylist())

    @cached_property
    def groups(self) -> tuple[dict[str, str], ...]:
        """What else their data set says of the images."""
        return groups_of(self._column("groups"), self.uri)

    def digests(self, rows: Sequence[int] | None = None) -> tuple[str, ...]:
        """SHA-256 of the files of some images, or of all, in hexadecimal.

        Raises:
            InputError: there are not so many images.
        """
        self._check(rows or ())
        return tuple(self._images.rows(["digest"], rows)["digest"].to_pylist())

    @property
    def vectors_of(self) -> tuple[str, ...]:
        """Names of the other models whose vectors of the images are kept."""
        return tuple(self._others.columns)

    def __len__(self) -> int:
        """Count the images."""
        return len(self._images)

    def __repr__(self) -> str:
        head = self.metadata
        told = {
            "contributions": f"{len(self.components):,} components ({kinds(self.components)}), "
            f"{self.dimension:,} dimensions",
            "model": f"{self.origin.model} ({self.origin.output}), by {head.by}",
            "written as": f"{head.precision}, computed in {head.dtype}",
            "vectors": ", ".join(self.vectors_of) or None,
            "unfinished": UNFINISHED if self.unfinished else None,
        }
        return summary(f"Store: {len(self):,} images in {self.uri}", told)

    def fingerprint(self) -> str:
        """Compute a checksum of the images' files and of their contributions, and of how these are kept."""
        told = [repr((self.components, self.metadata.dtype, self.metadata.precision))]
        names = ["digest", "checksum"]
        hashes = [hashlib.sha256() for _ in names]
        for batch in self._images.batches(names, AT_ONCE, self._images.version):
            for one, column in zip(hashes, batch.columns, strict=True):
                one.update(joined(column))
        told += [one.hexdigest() for one in hashes]
        return digest([" ".join(told)])

    def error(self, rows: range | None = None) -> Float[Tensor, " n"]:
        """Relative error of the sum of each image's contributions when they were computed; see `loss` too."""
        return torch.from_numpy(self._images.rows(["error"], rows)["error"].to_numpy().copy())

    def loss(self, rows: range | None = None) -> Float[Tensor, "n component"]:
        """|read - contribution| / |contribution|, as measured when they were written."""
        table = self._images.rows(["loss"], rows)
        return torch.from_numpy(numbers(table["loss"], len(self.components)).copy())

    def losses(self) -> dict[Component, float]:
        """Return the largest loss of each component."""
        worst = torch.zeros(len(self.components))
        for start in range(0, len(self), AT_ONCE):
            worst = torch.maximum(worst, self.loss(range(start, min(start + AT_ONCE, len(self)))).amax(0))
        return dict(zip(self.components, worst.tolist(), strict=True))

    @property
    def bytes_per_image(self) -> int:
        """What the columns of the components take for an image."""
        return self._encodings.bytes_per_row()

    def embedding(self, rows: range | None = None) -> Float[Tensor, "n d"]:
        """Read the representations themselves."""
        return self._stored.embedding(rows)

    def basis(self, component: Component) -> Float[Tensor, "d r"] | None:
        """Orthonormal columns that span a component's contributions; `None` where the coefficients are these.

        Raises:
            SpecError: there is no such component.
        """
        basis = self._encodings[self._place(component)].basis
        return None if basis is None else torch.from_numpy(basis).clone()

    def coefficients(self, component: Component, rows: range) -> Float[Tensor, "n r"]:
        """Read a component's coefficients for consecutive images; nothing else is read.

        Raises:
            SpecError: there is no such component.
            InputError: there are not so many images.
        """
        self._check(rows)
        index = self._place(component)
        encoding, column = self._encodings[index], self._encodings.column(index)
        if column is None:
            return torch.from_numpy(encoding.coefficients(encoding.held(len(rows))))
        stored = numbers(self._images.rows([column], rows)[column], encoding.width)
        return torch.from_numpy(encoding.coefficients(stored))

    def scan(self, components: Sequence[Component], size: int, rows: range | None = None) -> Iterator[Block]:
        """Yield the coefficients of some components for all images in order, in the format in which they are written.

        Nothing else is read, and the next images are read while a caller is at work on the last ones.

        Args:
            components: which columns.
            size: images at a time, at most.
            rows: consecutive images, instead of all.

        Raises:
            SpecError: there is no such component.
            InputError: there are not so many images.
        """
        rows = range(len(self)) if rows is None else rows
        self._check(rows)
        indices = [self._place(component) for component in components]
        columns = [self._encodings.column(index) for index in indices]
        encodings = [self._encodings[index] for index in indices]
        scales, start = tuple(encoding.scale for encoding in encodings), rows.start
        for n, read in self._stored.batches([column for column in columns if column is not None], size, rows):
            parts = tuple(
                torch.from_numpy(encoding.held(n)) if column is None else shared(read[column], encoding.width)
                for column, encoding in zip(columns, encodings, strict=True)
            )
            yield Block(range(start, start + n), parts, scales)
            start += n

    def take(self, rows: Sequence[int]) -> Contributions:
        """Take the contributions of some images, in the order asked for.

        Their `error` is that of the sums as they were computed; their `loss` is what writing and reading adds to it.

        Raises:
            InputError: there are not so many images.
        """
        self._check(rows)
        rows = range(rows[0], rows[0] + 1) if len(rows) == 1 else rows  # for which nothing else is read
        values = self._stored.values(rows, self._dtype)
        loss = self._stored.loss(values, rows, exact=self.metadata.precision == "float64")
        return Contributions(values, self.components, self._errors[list(rows)], origin=self.origin, loss=loss)

    def batches(self, size: int) -> Iterator[Contributions]:
        """Yield all contributions in order, some images at a time."""
        for start in range(0, len(self), size):
            yield self.take(range(start, min(start + size, len(self))))

    def vectors(self, name: str) -> tuple[Float[Tensor, "n d_clip"], Origin | None]:
        """Another model's vectors of all images, and where they come from.

        Raises:
            SpecError: there are none of that name.
            InputError: some images, which were added later, have none.
        """
        return self._others.read(name)

    def add_vectors(self, name: str, vectors: Float[Tensor, "n d_clip"], origin: Origin | None = None) -> None:
        """Keep another model's vectors of all images beside them, instead of those of the same name.

        Raises:
            InputError: not one finite vector for each image.
            OutputError: they cannot be written.
        """
        self._others.add(name, vectors, origin)

    def check(self) -> tuple[int, int]:
        """Compare all checksums that are recorded.

        Returns:
            How many files have one, and how many have none.

        Raises:
            DamageError: one differs, or a file is gone.
        """
        tables = (self._images, self._table)
        for table in tables:
            table.check()
        unknown = sum(table.files.unknown for table in tables)
        return sum(len(table.files) for table in tables) - unknown, unknown

    @cached_property
    def _errors(self) -> Float[Tensor, " n"]:
        return self.error()

    def _column(self, name: str) -> list[Any]:
        values: list[Any] = self._images.rows([name])[name].to_pylist()
        return values

    def _place(self, component: Component) -> int:
        if component not in self._places:
            names = [known.name for known in self.components]
            raise SpecError(f"there is no component {component} in {self.uri}{did_you_mean(str(component), names)}")
        return self._places[component]

    def _check(self, rows: Sequence[int]) -> None:
        if not len(rows):
            return
        consecutive = isinstance(rows, range) and rows.step == 1
        first, last = (rows[0], rows[-1]) if consecutive else (min(rows), max(rows))
        if not 0 <= first <= last < len(self):
            raise InputError(f"rows {first} to {last} asked for, of {len(self)} in {self.uri}")
