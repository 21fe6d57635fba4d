"""A table of paths."""

from __future__ import annotations

from pathlib import Path

from vitdecomp.datasets import celeba
from vitdecomp.datasets.csv_table import IMAGE, IMAGE_TOO, LABEL, SUFFIXES, CsvTable, read_table
from vitdecomp.datasets.image import Picture
from vitdecomp.errors import InputError
from vitdecomp.images.reading import read_file


class Listing:
    """A CSV or TSV file with a column of paths, relative to it, and perhaps one of labels.

    All other columns are kept as groups. The images of CelebA's lists are in the folder where CelebA has them.

    Raises:
        InputError: no column of paths, no row, or a row without a path or with that of another.
    """

    def __init__(self, place: Path) -> None:
        table = read_table(place)
        path, label = table.find((*IMAGE, *IMAGE_TOO)), table.find(LABEL)
        if path is None:
            known = ", ".join(table.columns[:10])
            raise InputError(
                f"{place} has no column of paths: its columns are {known or 'none'}; call one {', '.join(IMAGE[:3])}"
            )
        if not table.rows:
            raise InputError(f"no images in {place}: it has no rows")
        names = [Path(name).as_posix() for name in table.filled(path)]
        _check(table, names)
        self.root = place.parent.absolute()
        if celeba.attributes_file(place) is not None:
            self.root /= celeba.image_folder(self.root, names[0])
        labels = table.column(label) if label else [""] * len(names)
        others = [(i, name) for i, name in enumerate(table.columns) if name not in ("", path, label)]
        groups = ({name: row[i] for i, name in others} for row in table.rows)
        self.pictures = tuple(
            Picture(name, text or None, other) for name, text, other in zip(names, labels, groups, strict=True)
        )

    @classmethod
    def recognises(cls, place: Path) -> bool:
        """Recognize a file by its name."""
        return place.is_file() and place.suffix.lower() in SUFFIXES

    def read(self, index: int) -> bytes:
        """Read the file of an image."""
        return read_file(self.root / self.pictures[index].id)


def _check(table: CsvTable, names: list[str]) -> None:
    seen: dict[str, int] = {}
    for row, name in enumerate(names):
        if name in seen:
            raise InputError(f"{table.where(row)}: {name} is in line {table.lines[seen[name]]} already")
        seen[name] = row
