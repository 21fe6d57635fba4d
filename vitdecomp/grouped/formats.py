"""The formats in which data sets with groups come: the one table of what is known of them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from vitdecomp.errors import InputError, SpecError
from vitdecomp.grouped.images import Grouped, grouped
from vitdecomp.images import find_images
from vitdecomp.registry import did_you_mean

Row = Mapping[str, str]
ATTRIBUTES, PARTITION, PICTURES = "list_attr_celeba.txt", "list_eval_partition.txt", "img_align_celeba"
YES = "1"  # CelebA marks an attribute that is there with 1 and one that is not with -1


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of a table, or attributes of CelebA, are meant.

    Attributes:
        image, label, group, split: columns of a CSV. An empty group means label and `beside` together, or the label.
        target, beside: attributes of CelebA: the class, and what goes with it.
    """

    image: str = "image"
    label: str = "label"
    group: str = "group"
    split: str = "split"
    target: str = "Blond_Hair"
    beside: str = "Male"


@dataclass(frozen=True, slots=True)
class Format:
    """How one kind of data set is known and read."""

    matches: Callable[[Path], bool]
    read: Callable[[Path, Columns], Grouped]


def read(place: Path, columns: Columns | None = None, kind: str | None = None) -> Grouped:
    """The images of a data set on disk.

    Args:
        place: its folder, or a CSV.
        columns: for a CSV and for CelebA.
        kind: the name of its format; by default found out.

    Raises:
        InputError: there is none, of no known format, or not as its format wants it; a listed file is missing.
        SpecError: an unknown format, column or attribute.
    """
    if not place.exists():
        raise InputError(f"there is no file or folder {place}")
    if kind is not None and kind not in FORMATS:
        raise SpecError(f"no format {kind!r}{did_you_mean(kind, list(FORMATS))}")
    found = kind or next((name for name, form in FORMATS.items() if form.matches(place)), None)
    if found is None:
        raise InputError(
            f"{place} is no data set with classes: give a folder with metadata.csv (WILDS), {ATTRIBUTES} (CelebA), "
            "labels.csv (scenes) or a folder for each class, or a CSV"
        )
    return FORMATS[found].read(place, columns or Columns())


def _wilds(place: Path, columns: Columns) -> Grouped:
    """Waterbirds as WILDS has it: metadata.csv with img_filename, y, split and place."""
    rows = _table(place / "metadata.csv", ("img_filename", "y", "split", "place"))
    names = {"y": ("landbird", "waterbird"), "place": ("land", "water")}
    for row in rows:
        for key, known in names.items():
            if row[key] not in ("0", "1"):
                raise InputError(f"{place / 'metadata.csv'}: {key} is {row[key]!r}, which should be 0 or 1 ({known})")
    classes, sides = names["y"], names["place"]
    return grouped(
        place,
        [row["img_filename"] for row in rows],
        [classes[int(row["y"])] for row in rows],
        [f"{classes[int(row['y'])]}, {sides[int(row['place'])]}" for row in rows],
        [row["split"] for row in rows],
        classes=classes,
        group_names=_pairs(classes, sides),
    )


def _celeba(place: Path, columns: Columns) -> Grouped:
    """CelebA: attributes and splits in text files, pictures in a folder beside them."""
    lines = _lines(place / ATTRIBUTES)
    attributes = lines[1].split() if len(lines) > 1 else []
    for name in (columns.target, columns.beside):
        if name not in attributes:
            raise SpecError(f"{place / ATTRIBUTES} has no attribute {name!r}{did_you_mean(name, attributes)}")
    values = {}
    for number, line in enumerate(lines[2:], 3):
        image, *marks = line.split()
        if len(marks) != len(attributes):
            raise InputError(f"{place / ATTRIBUTES}, line {number}: {len(marks)} values, {len(attributes)} attributes")
        values[image] = marks
    splits = _partition(place / PARTITION, values)
    classes, sides = (_of_attribute(name) for name in (columns.target, columns.beside))
    at, by = attributes.index(columns.target), attributes.index(columns.beside)
    labels = [classes[marks[at] == YES] for marks in values.values()]
    beside = [sides[marks[by] == YES] for marks in values.values()]
    return grouped(
        place / PICTURES,
        list(values),
        labels,
        [f"{label}, {side}" for label, side in zip(labels, beside, strict=True)],
        splits,
        classes=classes,
        group_names=_pairs(classes, sides),
    )


def _partition(path: Path, images: Mapping[str, object]) -> list[str] | None:
    """The split of every image; `None` without the file."""
    if not path.is_file():
        return None
    known = {}
    for number, line in enumerate(_lines(path), 1):
        name, _, split = line.partition(" ")
        if split.strip() not in ("0", "1", "2"):
            raise InputError(f"{path}, line {number}: the split must be 0, 1 or 2, not {split.strip()!r}")
        known[name] = split.strip()
    missing = next((name for name in images if name not in known), None)
    if missing is not None:
        raise InputError(f"{path} does not say in which split {missing} is")
    return [known[name] for name in images]


def _of_attribute(name: str) -> tuple[str, str]:
    return f"not {name}", name


def _scenes(place: Path, columns: Columns) -> Grouped:
    """What `vitdecomp scenes` writes. One folder is one split; of a folder of such folders, every one is read."""
    tables = [place / "labels.csv"] if (place / "labels.csv").is_file() else sorted(place.glob("*/labels.csv"))
    names, labels, groups, split = [], [], [], []
    for table in tables:
        for row in _table(table, ("path", "split", "target", "group")):
            names.append((table.parent.relative_to(place) / row["path"]).as_posix())
            labels.append(row["target"])
            groups.append(row["group"] or row["target"])
            split.append(row["split"])
    return grouped(place, names, labels, groups, split if len({*split}) > 1 else None)


def _folders(place: Path, columns: Columns) -> Grouped:
    """A folder for each class, as for ImageFolder; train and test inside or outside of it, if there are splits."""
    files = [path.relative_to(place) for path in find_images(place)]
    within = {"train", "val", "valid", "test"}
    if all(len(path.parts) > 2 and path.parts[0] in within for path in files):
        split: list[str] | None = [path.parts[0] for path in files]
        labels = [path.parts[1] for path in files]
    else:
        split, labels = None, [path.parts[0] for path in files]
    return grouped(place, [path.as_posix() for path in files], labels, labels, split)


def _csv(place: Path, columns: Columns) -> Grouped:
    """Any CSV with columns for image and label, and perhaps group and split; paths are relative to it."""
    rows = _table(place, (columns.image, columns.label))
    has = rows[0].keys()
    groups = [row[columns.group if columns.group in has else columns.label] for row in rows]
    split = [row[columns.split] for row in rows] if columns.split in has else None
    empty = next((i for i, row in enumerate(rows) if not row[columns.label]), None)
    if empty is not None:
        raise InputError(f"{place}, line {empty + 2}: no {columns.label}")
    return grouped(
        place.parent, [row[columns.image] for row in rows], [row[columns.label] for row in rows], groups, split
    )


def _pairs(classes: Sequence[str], sides: Sequence[str]) -> list[str]:
    return [f"{label}, {side}" for label in classes for side in sides]


def _table(path: Path, needed: Sequence[str]) -> list[Row]:
    """The rows of a CSV.

    Raises:
        InputError: it cannot be read, has no rows, or a row is cut off.
        SpecError: a column is missing.
    """
    lines = _lines(path)
    reader = csv.DictReader(lines)
    header = reader.fieldnames or []
    for name in needed:
        if name not in header:
            raise SpecError(f"{path} has no column {name!r}{did_you_mean(name, list(header))}")
    rows: list[Row] = []
    for number, row in enumerate(reader, 2):
        if None in row or None in row.values():
            raise InputError(f"{path}, line {number}: not {len(header)} columns as in the first line")
        rows.append(row)
    if not rows:
        raise InputError(f"{path} lists no images")
    return rows


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error


def _has_classes(place: Path) -> bool:
    return place.is_dir() and any(_subfolders(place))


def _subfolders(place: Path) -> Iterator[Path]:
    return (path for path in place.iterdir() if path.is_dir())


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "waterbirds": Format(lambda place: (place / "metadata.csv").is_file(), _wilds),
        "celeba": Format(lambda place: (place / ATTRIBUTES).is_file(), _celeba),
        "scenes": Format(lambda place: (place / "labels.csv").is_file() or any(place.glob("*/labels.csv")), _scenes),
        "csv": Format(lambda place: place.is_file(), _csv),
        "folder": Format(_has_classes, _folders),
    }
)
