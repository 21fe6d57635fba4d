"""The formats in which data sets with groups come: the one table of what is known of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from vitdecomp._utils.registry import did_you_mean
from vitdecomp.datasets import celeba
from vitdecomp.datasets.csv_table import IMAGE, IMAGE_TOO, LABEL, SPLIT, CsvTable, read_table
from vitdecomp.datasets.grouped.images import SPLIT_NAMES, Grouped, grouped
from vitdecomp.errors import InputError, SpecError
from vitdecomp.images.image_list import is_hidden, list_images, spelled

logger = logging.getLogger(__name__)


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
    """Read the images of a data set on disk.

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
            f"{place} is no data set with classes: give a folder with metadata.csv (WILDS), {celeba.LISTS[0]} "
            "(CelebA), labels.csv (scenes) or a folder for each class, or a CSV"
        )
    return FORMATS[found].read(place, columns or Columns())


def _wilds(place: Path, columns: Columns) -> Grouped:
    """Waterbirds as WILDS has it: metadata.csv with img_filename, y, split and place."""
    table = _table(place / "metadata.csv")
    names = {"y": ("landbird", "waterbird"), "place": ("land", "water")}
    numbers = {key: _numbers(table, key, known) for key, known in names.items()}
    classes, sides = names["y"], names["place"]
    labels = [classes[i] for i in numbers["y"]]
    return grouped(
        place,
        table.filled(table.require(["img_filename"])),
        labels,
        [f"{label}, {sides[i]}" for label, i in zip(labels, numbers["place"], strict=True)],
        table.filled(table.require(["split"])),
        classes=classes,
        group_names=_pairs(classes, sides),
    )


def _numbers(table: CsvTable, key: str, known: Sequence[str]) -> list[int]:
    cells = table.column(table.require([key]))
    strange = next((i for i, cell in enumerate(cells) if cell not in ("0", "1")), None)
    if strange is not None:
        raise InputError(f"{table.where(strange)}: {key} is {cells[strange]!r}, which should be 0 or 1 ({known})")
    return [int(cell) for cell in cells]


def _celeba(place: Path, columns: Columns) -> Grouped:
    """CelebA: attributes and splits in lists of its own or of Kaggle's, pictures in a folder beside them."""
    path = celeba.attributes_file(place)
    if path is None:
        raise InputError(f"{place} has no {celeba.LISTS[0]}")
    table, root = _table(path), place.parent if place.is_file() else place
    target, beside = (table.require([name], "attribute") for name in (columns.target, columns.beside))
    images = table.filled(table.columns[0])
    classes, sides = (_of_attribute(name) for name in (target, beside))
    labels = [classes[mark] for mark in celeba.marks(table, target)]
    return grouped(
        root / celeba.image_folder(root, images[0]),
        images,
        labels,
        [f"{label}, {sides[mark]}" for label, mark in zip(labels, celeba.marks(table, beside), strict=True)],
        celeba.partition(root, images),
        classes=classes,
        group_names=_pairs(classes, sides),
    )


def _of_attribute(name: str) -> tuple[str, str]:
    return f"not {name}", name


def _scenes(place: Path, columns: Columns) -> Grouped:
    """Read what `vitdecomp scenes` writes. One folder is one split; of a folder of such folders, every one is read."""
    paths = [place / "labels.csv"] if (place / "labels.csv").is_file() else sorted(place.glob("*/labels.csv"))
    names, labels, groups, split = [], [], [], []
    for path in paths:
        table = _table(path)
        image, part, target, group = (table.column(table.require([k])) for k in ("path", "split", "target", "group"))
        names += [(path.parent.relative_to(place) / name).as_posix() for name in image]
        labels += target
        groups += [one or label for one, label in zip(group, target, strict=True)]
        split += part
    return grouped(place, names, labels, groups, split if len({*split}) > 1 else None)


def _folders(place: Path, columns: Columns) -> Grouped:
    """Read a folder for each class, as for ImageFolder; splits such as train and test lie inside or outside of it."""
    every = [path.relative_to(place) for path in list_images(place).files]
    files = [path for path in every if len(path.parts) > 1]
    if not files:
        raise InputError(f"{place} has no image in a folder: every class needs one of its own")
    if len(files) < len(every):
        alone = next(path for path in every if len(path.parts) == 1)
        logger.warning("%d images of %s are in no class and left out (%s)", len(every) - len(files), place, alone)
    split: list[str] | None = None
    within = {name for name in SPLIT_NAMES if not name.isdigit()}  # digits are classes
    if all(len(path.parts) > 2 and path.parts[0].lower() in within for path in files):
        split = [path.parts[0] for path in files]
    labels = [spelled(path.parts[0 if split is None else 1]) for path in files]
    return grouped(place, [path.as_posix() for path in files], labels, labels, split)


def _csv(place: Path, columns: Columns) -> Grouped:
    """Any CSV with columns for image and label, and perhaps group and split; paths are relative to it."""
    table, usual = _table(place), Columns()
    image = table.require([columns.image, *((*IMAGE, *IMAGE_TOO) if columns.image == usual.image else ())])
    label = table.require([columns.label, *(LABEL if columns.label == usual.label else ())])
    group = table.find([columns.group])
    split = table.find([columns.split, *(SPLIT if columns.split == usual.split else ())])
    named = {name for name in (columns.group, columns.split) if name not in (usual.group, usual.split)}
    for name in named:
        table.require([name])  # what the user named must be there
    labels = table.filled(label)
    return grouped(
        place.parent,
        table.filled(image),
        labels,
        labels if group is None else table.filled(group),
        None if split is None else table.filled(split),
    )


def _pairs(classes: Sequence[str], sides: Sequence[str]) -> list[str]:
    return [f"{label}, {side}" for label in classes for side in sides]


def _table(path: Path) -> CsvTable:
    table = read_table(path)
    if not table.rows:
        raise InputError(f"{path} lists no images")
    return table


def _has_classes(place: Path) -> bool:
    return place.is_dir() and any(_subfolders(place))


def _subfolders(place: Path) -> Iterator[Path]:
    return (path for path in place.iterdir() if path.is_dir() and not is_hidden(path.name))


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "waterbirds": Format(lambda place: (place / "metadata.csv").is_file(), _wilds),
        "celeba": Format(lambda place: celeba.attributes_file(place) is not None, _celeba),
        "scenes": Format(lambda place: (place / "labels.csv").is_file() or any(place.glob("*/labels.csv")), _scenes),
        "csv": Format(lambda place: place.is_file(), _csv),
        "folder": Format(_has_classes, _folders),
    }
)
