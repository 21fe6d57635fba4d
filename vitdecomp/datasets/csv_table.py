"""Read tables of text: CSV however it was written, and CelebA's own format."""

from __future__ import annotations

import codecs
import csv
import io
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vitdecomp._utils.limits import CELL
from vitdecomp._utils.registry import did_you_mean
from vitdecomp.errors import InputError, SpecError
from vitdecomp.images.reading import read_file

logger = logging.getLogger(__name__)

# What a column is called that tells where an image is, or what it shows; the first that a table has counts.
IMAGE = ("path", "image", "file", "filename", "file_name", "img_filename", "image_path", "image_id", "img_path")
IMAGE_TOO = ("filepath", "file_path", "image_file", "image_name", "img", "img_name")
LABEL = ("label", "class", "target", "y", "labels", "class_name", "category")
SPLIT = ("split", "partition")
DELIMITERS = (",", ";", "\t")
SUFFIXES = (".csv", ".tsv", ".tab", ".txt")
BY_TABS = (".tsv", ".tab")
FIRST = 2**16  # characters of the first line that are looked at
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True, slots=True)
class CsvTable:
    """The cells of a table, without the spaces around them.

    Attributes:
        path: its file. columns: their names. rows: cells, as many as columns. lines: of the file where rows begin.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]

    def find(self, names: Sequence[str]) -> str | None:
        """Find the first of some names that a column has, in whatever case; `None` if none has."""
        plain = {_plain(column): column for column in reversed(self.columns)}
        return next((n if n in self.columns else plain[_plain(n)] for n in names if _plain(n) in plain), None)

    def require(self, names: Sequence[str], noun: str = "column") -> str:
        """Find the same, where one must be there.

        Raises:
            SpecError: no column has any of the names.
        """
        found = self.find(names)
        if found is None:
            raise SpecError(f"{self.path} has no {noun} {names[0]!r}{did_you_mean(names[0], list(self.columns))}")
        return found

    def column(self, name: str) -> list[str]:
        """Return the cells of a column."""
        place = self.columns.index(name)
        return [row[place] for row in self.rows]

    def filled(self, name: str) -> list[str]:
        """Return the cells of a column in which none may be empty.

        Raises:
            InputError: one is.
        """
        cells = self.column(name)
        empty = next((i for i, cell in enumerate(cells) if not cell), None)
        if empty is not None:
            raise InputError(f"{self.where(empty)}: no {name}")
        return cells

    def where(self, row: int) -> str:
        """Name the file and the line of a row."""
        return f"{self.path}, line {self.lines[row]}"


def read_table(path: Path, header: Sequence[str] | None = None) -> CsvTable:
    """Read a table in UTF-8 or UTF-16, with commas, semicolons or tabs, whichever its first line has most.

    CelebA's own lists are read too: columns between spaces, below a line with the number of rows and a line with the
    names of all columns but the first, `image_id`.

    Args:
        path: the file.
        header: names of the columns, if the file has no line for them; then spaces lie between columns.

    Raises:
        InputError: it cannot be read, a name is there twice, or a row has more or fewer cells than there are columns.
    """
    text = _text(path)
    first = next((line for line in io.StringIO(text, newline=None) if line.strip()), "")
    if header is not None:
        return _table(path, [(0, list(header)), *_spaced(text)])
    if first.strip().isdigit() and path.suffix.lower() not in (".csv", *BY_TABS):
        records = list(_spaced(text))
        names = [(line, ["image_id", *cells]) for line, cells in records[1:2]]
        if len(records) - 2 != int(first):
            logger.warning("%s says that it has %s rows, and has %d", path, first.strip(), len(records) - 2)
        return _table(path, [*names, *records[2:]])
    return _table(path, list(_separated(path, text, _delimiter(first, path.suffix.lower()))))


def _text(path: Path) -> str:
    try:
        data = read_file(path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        text = data.decode("utf-16" if data.startswith(UTF16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"cannot read {path}, line {line}: it is not text in UTF-8") from error
    if "\0" in text:
        raise InputError(f"cannot read {path}, line {text[: text.index(chr(0))].count(chr(10)) + 1}: it is not text")
    return text


def _delimiter(first: str, suffix: str) -> str:
    """Find what separates the columns."""
    usual = "\t" if suffix in BY_TABS else ","
    found = {one: len(next(csv.reader([first[:FIRST].strip()], delimiter=one), ())) for one in (usual, *DELIMITERS)}
    return max(found, key=lambda one: found[one])  # the usual one, if others are as frequent


def _separated(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Lines and cells of the rows that are not empty."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    line, usual = 1, csv.field_size_limit(CELL)  # which the module keeps for the whole process
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                yield line, stripped
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"cannot read {path}, line {line}: {error}") from error
    finally:
        csv.field_size_limit(usual)


def _spaced(text: str) -> Iterator[tuple[int, list[str]]]:
    return ((line, cells) for line, cells in enumerate(map(str.split, io.StringIO(text, newline=None)), 1) if cells)


def _table(path: Path, records: Sequence[tuple[int, list[str]]]) -> CsvTable:
    """Rows as wide as the first; what has no name at the end of it must be empty."""
    names = records[0][1] if records else []
    while names and not names[-1]:
        names.pop()
    twice = next((name for i, name in enumerate(names) if name and name in names[:i]), None)
    if twice is not None:
        raise InputError(f"{path}: two columns are called {twice}")
    same: dict[str, str] = {}  # equal cells are kept once: CelebA has eight million of two kinds
    rows = []
    for line, cells in records[1:]:
        if len(cells) < len(names) or any(cells[len(names) :]):
            more = "more" if len(cells) > len(names) else "fewer"
            raise InputError(
                f"{path}, line {line}: {more} cells than columns, not {len(names)} columns as in the first"
            )
        rows.append(tuple(same.setdefault(cell, cell) for cell in cells[: len(names)]))
    return CsvTable(path, tuple(names), tuple(rows), tuple(line for line, _ in records[1:]))


def _plain(name: str) -> str:
    return name.casefold().replace(" ", "_").replace("-", "_")
