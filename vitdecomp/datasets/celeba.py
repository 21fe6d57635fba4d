"""The files of CelebA: its own, those of Kaggle, and where its images are."""

from __future__ import annotations

from pathlib import Path

from vitdecomp.datasets.csv_table import SPLIT, CsvTable, read_table
from vitdecomp.errors import InputError

ATTRIBUTES = "list_attr_celeba"
LISTS = (f"{ATTRIBUTES}.txt", f"{ATTRIBUTES}.csv", f"Anno/{ATTRIBUTES}.txt")
PARTITIONS = ("list_eval_partition.txt", "list_eval_partition.csv", "Eval/list_eval_partition.txt")
FOLDERS = ("img_align_celeba", "img_align_celeba/img_align_celeba", "Img/img_align_celeba", ".")
MARKS = {"1": True, "-1": False, "0": False}


def attributes_file(place: Path) -> Path | None:
    """Find the list of attributes in a folder, or take the file itself if it is one; `None` if there is none."""
    if place.is_file():
        return place if place.name.lower().startswith(ATTRIBUTES) else None
    return next((place / name for name in LISTS if (place / name).is_file()), None)


def image_folder(root: Path, first: str) -> str:
    """Return where below a folder the images are, of which one is known by name: `.` if nowhere."""
    return next((folder for folder in FOLDERS if (root / folder / first).is_file()), ".")


def marks(table: CsvTable, name: str) -> list[bool]:
    """Check whether images have an attribute.

    Raises:
        InputError: a cell that is neither 1 nor -1.
    """
    cells = table.column(name)
    strange = next((i for i, cell in enumerate(cells) if cell not in MARKS), None)
    if strange is not None:
        raise InputError(f"{table.where(strange)}: {name} is {cells[strange]!r}, which should be 1 or -1")
    return [MARKS[cell] for cell in cells]


def partition(root: Path, images: list[str]) -> list[str] | None:
    """Return which split images are in, as 0, 1 or 2; `None` without the file that tells.

    Raises:
        InputError: it says something else, or nothing of an image.
    """
    path = next((root / name for name in PARTITIONS if (root / name).is_file()), None)
    if path is None:
        return None
    table = read_table(path, None if path.suffix == ".csv" else ("image_id", "partition"))
    name = table.require(SPLIT[::-1])
    splits = table.filled(name)
    strange = next((i for i, split in enumerate(splits) if split not in ("0", "1", "2")), None)
    if strange is not None:
        raise InputError(f"{table.where(strange)}: the split must be 0, 1 or 2, not {splits[strange]!r}")
    known = dict(zip(table.column(table.columns[0]), splits, strict=True))
    missing = next((image for image in images if image not in known), None)
    if missing is not None:
        raise InputError(f"{path} does not say in which split {missing} is")
    return [known[image] for image in images]
