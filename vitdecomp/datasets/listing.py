"""A table of paths."""

from __future__ import annotations

import csv
from pathlib import Path

from vitdecomp.data.reading import read_file
from vitdecomp.datasets.picture import Picture
from vitdecomp.errors import InputError

PATHS = ("path", "image", "file", "filename", "file_name", "img_filename", "image_path")
LABELS = ("label", "class", "target", "y")
REST = "\0"  # where the table's reader puts cells that have no column
DELIMITERS = {".csv": ",", ".tsv": "\t"}


class Listing:
    """A CSV or TSV file with a column of paths, relative to it, and perhaps one of labels.

    All other columns are kept as groups.

    Raises:
        InputError: no column of paths, no row, or a row without a path or with that of another.
    """

    def __init__(self, place: Path) -> None:
        self.root = place.parent.absolute()
        rows, columns = _rows(place)
        path, label = _column(columns, PATHS), _column(columns, LABELS)
        if path is None:
            raise InputError(f"{place} has no column of paths: name one of its columns {', '.join(PATHS[:3])}")
        self.pictures = tuple(_picture(row, path, label) for row in rows)
        _check(place, self.pictures)

    @classmethod
    def recognises(cls, place: Path) -> bool:
        """A file that is named as one."""
        return place.is_file() and place.suffix.lower() in DELIMITERS

    def read(self, index: int) -> bytes:
        """The file of a picture."""
        return read_file(self.root / self.pictures[index].id)


def _rows(place: Path) -> tuple[list[dict[str, str]], list[str]]:
    """Rows by columns, and the columns."""
    try:
        with place.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file, delimiter=DELIMITERS[place.suffix.lower()], restval="", restkey=REST)
            rows = list(table)
            uneven = next((i for i, row in enumerate(rows, 2) if REST in row), None)
            if uneven is not None:
                raise InputError(f"{place}, row {uneven}: more cells than columns")
            return rows, list(table.fieldnames or ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read {place}: {error}") from error


def _column(columns: list[str], names: tuple[str, ...]) -> str | None:
    """The first of some names that a table has, in whatever case."""
    known = {column.strip().lower(): column for column in reversed(columns)}
    return next((known[name] for name in names if name in known), None)


def _picture(row: dict[str, str], path: str, label: str | None) -> Picture:
    rest = {key: value for key, value in row.items() if key not in (path, label)}
    return Picture(Path(row[path]).as_posix() if row[path] else "", row[label] if label else None, rest)


def _check(place: Path, pictures: tuple[Picture, ...]) -> None:
    if not pictures:
        raise InputError(f"no images in {place}: it has no rows")
    seen: dict[str, int] = {}
    for line, picture in enumerate(pictures, 2):
        if not picture.id:
            raise InputError(f"{place}, row {line}: no path")
        if picture.id in seen:
            raise InputError(f"{place}, row {line}: {picture.id} is in row {seen[picture.id]} already")
        seen[picture.id] = line
