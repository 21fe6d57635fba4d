"""OpenImages V7: points that do or do not show a class.

References:
    Benenson and Ferrari, "From colouring-in to pointillism: revisiting semantic segmentation supervision", arXiv
    2210.14142; columns ImageId, X, Y (0 .. 1 from the upper left corner), Label, EstimatedYesNo (yes, no, unsure), ...
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int8, Int64
from numpy.typing import NDArray

from vitdecomp._utils.limits import FILE, check_size
from vitdecomp.datasets.csv_table import read_table
from vitdecomp.datasets.masks.masked_image import MaskedImage, MaskedImages
from vitdecomp.datasets.masks.pairs import images_by_name
from vitdecomp.errors import InputError
from vitdecomp.images.image_list import spelled
from vitdecomp.images.opening import open_image

logger = logging.getLogger(__name__)

COLUMNS = ("ImageId", "X", "Y", "Label", "EstimatedYesNo")
TEXT = "TextLabel"
ANSWERS = ("no", "yes", "unsure")
NAMES = "oidv7-class-descriptions.csv"
IMAGES = (".", "images", "validation", "val", "test", "train", "data")


@dataclass(frozen=True, slots=True)
class Points:
    """Answers that are sure, sorted so that those on one class in one image stand together.

    Attributes:
        images: of each point. labels: its class. x, y: where it is, 0 .. 1. yes: whether it shows the class, `(p,)`.
        texts: of each label, what annotators were asked for.
    """

    images: NDArray[np.object_]
    labels: NDArray[np.object_]
    x: Float64[np.ndarray, " p"]
    y: Float64[np.ndarray, " p"]
    yes: Bool[np.ndarray, " p"]
    texts: dict[str, str]


def recognizes(place: Path) -> bool:
    """Recognize a CSV with the columns of point labels, or a folder with one that is called so."""
    path = _table(place)
    return path is not None and set(COLUMNS) <= set(_header(path))


def read(place: Path, images: Path | None, split: str | None) -> MaskedImages:
    """Read one record for each class that an image shows: for which one point at least was answered by yes.

    Unsure points are not annotated. Images that are not there are left out, and counted in a warning.

    Args:
        place: the CSV, or the folder with it; `oidv7-class-descriptions.csv` beside it names the classes.
        images: folder of `ImageId.jpg`; by default that of the CSV, or `images`, `validation`, `test`, `train` in it.
        split: none.

    Raises:
        InputError: the CSV cannot be read, a value is not as published, or none of its images is there.
    """
    path = _table(place)
    if path is None:
        raise InputError(f"{place} has no CSV of point labels, such as oidv7-val-annotations-point-labels.csv")
    points = _points(path)
    folder, there = _image_folder(path, images, set(points.images.tolist()))
    begins = _begins(points)
    ends = [*begins[1:], len(points.yes)]
    shown = [(a, b) for a, b in zip(begins, ends, strict=True) if points.images[a] in there and points.yes[a:b].any()]
    left_out = len(set(points.images.tolist()) - there.keys())
    if left_out:
        logger.warning("%s images of %s are not in %s and left out", f"{left_out:,}", path, folder)
    if not shown:
        raise InputError(f"no image in {folder} shows a class by {path}: no point of them was answered by yes")
    names = points.texts | _names(path.parent / NAMES)

    def build(index: int) -> MaskedImage:
        a, b = shown[index]
        image, label = str(points.images[a]), str(points.labels[a])
        return MaskedImage(
            id=spelled(f"{image}{label}" if label.startswith("/") else f"{image}/{label}"),
            image_id=spelled(image),
            opener=partial(open_image, folder / there[image]),
            reader=partial(_mask, points, slice(a, b)),
            source=str(path),
            class_name=names.get(label) or label,
            points=True,
        )

    return MaskedImages(place, range(len(shown)), build)


def _mask(points: Points, which: slice, height: int, width: int) -> Int8[np.ndarray, "height width"]:
    """Mark the pixels of points; where yes and no fall on one, nothing is annotated."""
    rows = np.minimum((points.y[which] * height).astype(int), height - 1)
    columns = np.minimum((points.x[which] * width).astype(int), width - 1)
    answered = np.zeros((2, height, width), dtype=bool)
    answered[points.yes[which].astype(int), rows, columns] = True
    return np.where(answered[0] == answered[1], -1, answered[1]).astype(np.int8)


def _points(path: Path) -> Points:
    table = _read(path)
    columns = {name: table[name].to_numpy(zero_copy_only=False) for name in COLUMNS}
    answers = np.char.lower(columns["EstimatedYesNo"].astype(str))
    _check(path, ~np.isin(answers, ANSWERS), "EstimatedYesNo", columns["EstimatedYesNo"], "yes, no or unsure")
    x, y = columns["X"], columns["Y"]
    for name, values in (("X", x), ("Y", y)):
        _check(path, ~((values >= 0) & (values <= 1)), name, values, "0 .. 1")
    sure = np.flatnonzero(answers != "unsure")
    order = sure[np.lexsort((columns["Label"][sure].astype(str), columns["ImageId"][sure].astype(str)))]
    if not len(order):
        raise InputError(f"{path} has no point that was answered by yes or no")
    texts = (
        dict(zip(table["Label"].to_pylist(), table[TEXT].to_pylist(), strict=True))
        if TEXT in table.column_names
        else {}
    )
    texts = {label: text for label, text in texts.items() if text}
    return Points(
        columns["ImageId"][order], columns["Label"][order], x[order], y[order], answers[order] == "yes", texts
    )


def _read(path: Path) -> Any:
    from pyarrow import ArrowInvalid, csv, float64, string

    kinds = {name: float64() if name in ("X", "Y") else string() for name in (*COLUMNS, TEXT)}
    wanted = [name for name in (*COLUMNS, TEXT) if name in _header(path)]
    missing = [name for name in COLUMNS if name not in wanted]
    if missing:
        raise InputError(f"{path} has no column {missing[0]!r}: point labels have {', '.join(COLUMNS)}")
    try:
        check_size(path.stat().st_size, 16 * FILE, str(path))
        return csv.read_csv(path, convert_options=csv.ConvertOptions(include_columns=wanted, column_types=kinds))
    except (ArrowInvalid, OSError) as error:
        raise InputError(f"cannot read {path}: {(str(error).splitlines() or [''])[0]}") from error


def _check(path: Path, strange: NDArray[np.bool_], name: str, values: NDArray[Any], wanted: str) -> None:
    where = np.flatnonzero(strange)
    if len(where):
        raise InputError(f"{path}, line {where[0] + 2}: {name} is {values[where[0]]}, which should be {wanted}")


def _begins(points: Points) -> Int64[np.ndarray, " k"]:
    new = (points.images[1:] != points.images[:-1]) | (points.labels[1:] != points.labels[:-1])
    return np.flatnonzero(np.concatenate([[True], new.astype(bool)]))


def _image_folder(path: Path, images: Path | None, wanted: set[str]) -> tuple[Path, dict[str, str]]:
    """Find the folder of the images, and their files by their names."""
    folders = [images] if images is not None else [path.parent / name for name in IMAGES]
    for folder in folders:
        there = {name: files[0] for name, files in images_by_name(folder).items() if name in wanted}
        if there:
            return folder, there
    raise InputError(
        f"the images of {path} are not in {' or '.join(map(str, folders[:2]))}: give their folder (images=, --images)"
    )


def _table(place: Path) -> Path | None:
    if place.is_file():
        return place if place.suffix.lower() == ".csv" else None
    return next(iter(sorted(place.glob("*point-labels*.csv"))), None)


def _header(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            return [name.strip().strip('"') for name in file.readline(2**16).split(",")]
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def _names(path: Path) -> dict[str, str]:
    """Read the names of classes; without a header in their first version."""
    if not path.is_file():
        return {}
    table = read_table(path)
    rows = (table.columns, *table.rows)
    return {row[0]: row[1] for row in rows if len(row) == 2 and row[0].startswith("/")}
