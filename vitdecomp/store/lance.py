"""Lance data sets: all that the package knows of the library, and its errors in one line.

A commit is whole or not at all, so that a process may be killed at any instant. Lance runs threads of its own: a
process that has used it must not fork.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, Literal

import pyarrow as pa

from vitdecomp._utils.limits import FILE, check_size
from vitdecomp.store.block_checksums import Blocks
from vitdecomp.store.data_files import REMEDY, DataFiles, local_path
from vitdecomp.store.lance_errors import reading, writing

FORMAT: Literal["2.1"] = "2.1"  # of Lance's files
FRAGMENT = 32768  # rows of one file, when small ones are merged


class Table:
    """One Lance data set.

    Args:
        uri: a path, or a URI such as `s3://bucket/name.lance`.
        options: of the object store, as Lance takes them.
    """

    def __init__(self, uri: str, options: Mapping[str, str] | None = None) -> None:
        self.uri, self.options = uri, dict(options) if options else None
        self._data: Any = None
        self._files: tuple[int, DataFiles] | None = None
        self._blocks: dict[str, Blocks] = {}

    def open(self, version: int | str | None = None) -> bool:
        """Look at the latest version, or at one by its number or tag; `False` if there is none.

        Raises:
            InputError: it is damaged, or cannot be reached.
        """
        import lance

        self._files, self._blocks = None, {}
        self._check_manifests()
        with reading(self.uri, f"if it is damaged, {REMEDY}"):
            try:
                self._data = lance.dataset(self.uri, version=version, storage_options=self.options)
                _ = self._data.schema, self._data.config()  # it may be here that damage is found
            except (ValueError, OSError) as error:
                if "not found" not in str(error).lower():
                    raise
                self._data = None
        return self._data is not None

    def _check_manifests(self) -> None:
        """Refuse a list of files that is larger than any; Lance reads it whole. An object store is asked for none."""
        here = local_path(self.uri)
        for path in here.glob("_versions/*.manifest") if here is not None and here.is_dir() else ():
            with suppress(FileNotFoundError):  # another process removes old versions
                check_size(path.stat().st_size, FILE, str(path), REMEDY)

    @property
    def here(self) -> bool:
        """Whether it is on this machine."""
        return local_path(self.uri) is not None

    @property
    def closed(self) -> bool:
        """Whether no version was found yet."""
        return self._data is None

    def expect(self, checksums: Mapping[str, str]) -> None:
        """Compare what is read with the checksums of files from now on.

        Raises:
            ValueError: these are none.
        """
        self._files, self._blocks = None, {path: Blocks(told) for path, told in checksums.items()}

    @property
    def files(self) -> DataFiles:
        """The files of the version that this sees."""
        if self._files is None or self._files[0] != self.version:
            self._files = self.version, DataFiles(self._data, self.uri, self.options, self._blocks)
        return self._files[1]

    def check(self) -> None:
        """Compare the checksums of all files.

        Raises:
            DamageError: one differs, or a file is gone.
        """
        with reading(self.uri):
            self.files.check()

    def damage(self) -> str | None:
        """Describe what is wrong with the files, as far as their sizes tell; `None` if nothing is, or elsewhere."""
        return self.files.damage()

    def __len__(self) -> int:
        """Count the rows."""
        return 0 if self._data is None else int(self._data.count_rows())

    @property
    def schema(self) -> pa.Schema:
        """Columns, with their metadata."""
        return self._data.schema

    @property
    def config(self) -> dict[str, str]:
        """What `set` was given."""
        return dict(self._data.config())

    def rows(self, columns: Sequence[str], rows: range | Sequence[int] | None = None) -> pa.Table:
        """Read some columns of some rows, or of all; consecutive rows are read fastest.

        Raises:
            InputError: they cannot be read.
        """
        with reading(self.uri):
            self.files.check(columns, rows)
            if rows is None:
                return self._data.to_table(columns=list(columns), scan_in_order=True)
            if isinstance(rows, range) and rows.step == 1:
                return self._data.to_table(
                    columns=list(columns), offset=rows.start, limit=len(rows), scan_in_order=True
                )
            return self._data.take(list(rows), columns=list(columns))

    @property
    def version(self) -> int:
        """Of the rows and columns that this sees."""
        return int(self._data.version)

    def batches(
        self, columns: Sequence[str], size: int = 1024, version: int | None = None, rows: range | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield some columns of all rows or of consecutive ones, some at a time, of a version or the latest one.

        They are read in a handle of its own: one that is written to cannot be read.

        Raises:
            InputError: they cannot be read.
        """
        import lance

        with reading(self.uri):
            data = lance.dataset(self.uri, version=version, storage_options=self.options)
            DataFiles(data, self.uri, self.options, self._blocks).check(columns, rows)
            offset, limit = (None, None) if rows is None else (rows.start, len(rows))
            yield from data.to_batches(
                columns=list(columns), batch_size=size, scan_in_order=True, offset=offset, limit=limit
            )

    def replace(self, table: pa.Table) -> None:
        """Write the first rows, whatever was there.

        Raises:
            OutputError: they cannot be written.
        """
        self._write(table, "overwrite" if self.open() else "create")

    def append(self, table: pa.Table) -> None:
        """Write more rows; columns that they lack are empty there.

        Raises:
            OutputError: they cannot be written.
        """
        self._write(table, "append")

    def fragment(self, table: pa.Table) -> str:
        """Write rows that do not count before they are committed; some columns may be missing.

        Any number of processes may do so at once.

        Returns:
            What `commit` wants to know of them, as JSON.

        Raises:
            OutputError: they cannot be written.
        """
        from lance.fragment import write_fragments

        with writing(self.uri):
            written = write_fragments(
                table,
                self._data,
                data_storage_version=FORMAT,
                storage_options=self.options,
                max_rows_per_file=len(table),
            )
            return json.dumps(written[0].to_json())

    def written(self, fragment: str) -> pa.Table:
        """Rows that were written and need not be committed.

        Raises:
            InputError: they cannot be read.
        """
        from lance.file import LanceFileReader

        with reading(self.uri):
            path = f"{self.uri}/data/{json.loads(fragment)['files'][0]['path']}"
            return LanceFileReader(path, storage_options=self.options).read_all().to_table()

    def commit(self, fragments: Sequence[str]) -> None:
        """Append rows that were written, all or none.

        Raises:
            OutputError: it cannot be written.
        """
        import lance

        with writing(self.uri):
            found = [lance.FragmentMetadata.from_json(fragment) for fragment in fragments]
            operation = lance.LanceOperation.Append(found)
            self._data = lance.LanceDataset.commit(
                self.uri, operation, read_version=self._data.version, storage_options=self.options
            )

    def drop(self) -> None:
        """Forget all rows, then the table: whoever is killed on the way leaves an empty one.

        Raises:
            OutputError: it cannot be written.
        """
        import lance

        self._write(self._data.schema.empty_table(), "overwrite")
        self.clean(alone=True)
        with writing(self.uri):
            lance.LanceDataset.drop(self.uri, storage_options=self.options)
        self._data = None

    def add_columns(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
        """Write more columns, for all rows in order.

        Raises:
            OutputError: they cannot be written.
        """
        with writing(self.uri):
            self._data.add_columns(pa.RecordBatchReader.from_batches(schema, batches))

    def drop_columns(self, names: Sequence[str]) -> None:
        """Forget columns.

        Raises:
            OutputError: it cannot be written.
        """
        with writing(self.uri):
            self._data.drop_columns(list(names))

    def set(self, **config: str) -> None:
        """Keep a few words beside the rows.

        Raises:
            OutputError: they cannot be written.
        """
        with writing(self.uri):
            self._data.update_config(config)

    def tag(self, name: str, version: int) -> None:
        """Name a version, and keep it while it has the name.

        Raises:
            OutputError: it cannot be written.
        """
        with writing(self.uri):
            tags = self._data.tags
            (tags.update if name in tags.list() else tags.create)(name, version)

    def untag(self, name: str) -> bool:
        """Let a version go, if one has the name; whether one had it.

        Raises:
            OutputError: it cannot be written.
        """
        with writing(self.uri):
            found = name in self._data.tags.list()
            if found:
                self._data.tags.delete(name)
            return found

    def compact(self) -> None:
        """Merge small files, which are looked at first; others may append meanwhile.

        Raises:
            OutputError: it cannot be written.
            DamageError: one is not what was written.
        """
        with writing(self.uri):
            self.files.check_small(FRAGMENT)
            self._data.optimize.compact_files(target_rows_per_fragment=FRAGMENT)

    def tidy(self, *, alone: bool) -> None:
        """Merge small files, and delete what no row needs any more; `alone` as for `clean`.

        Raises:
            OutputError: it cannot be written.
            DamageError: a file is not what was written.
        """
        self.compact()
        self.clean(alone=alone)

    def clean(self, *, alone: bool) -> None:
        """Delete what no version needs that has a name or is the latest.

        Args:
            alone: nobody else writes, so that what a killed process left can go too.

        Raises:
            OutputError: it cannot be written.
        """
        with writing(self.uri):
            self._data.cleanup_old_versions(
                older_than=timedelta(0), delete_unverified=alone, error_if_tagged_old_versions=False
            )

    def _write(self, table: pa.Table, mode: str) -> None:
        import lance

        with writing(self.uri):
            self._data = lance.write_dataset(
                table, self.uri, mode=mode, data_storage_version=FORMAT, storage_options=self.options
            )
