"""Grouped: paths of images with their classes, groups and splits."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

import numpy as np
from jaxtyping import Bool, Int64

from vitdecomp._utils.registry import did_you_mean
from vitdecomp.datasets import Picture
from vitdecomp.errors import InputError, SpecError
from vitdecomp.images.image_list import spelled
from vitdecomp.images.reading import read_file

logger = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
SPLIT_NAMES: Mapping[str, str] = MappingProxyType(  # as tables and folders call them
    {
        **dict.fromkeys(("train", "training", "0"), "train"),
        **dict.fromkeys(("val", "valid", "validation", "dev", "1"), "val"),
        **dict.fromkeys(("test", "testing", "2"), "test"),
    }
)
SHARE = 0.5  # of the images of each group that train, where a data set has no splits


@dataclass(frozen=True)
class Grouped:
    """Images of known class and group: `vitdecomp.datasets.Pictures` with numbers for what tables say in words.

    Attributes:
        root: the folder that all paths are in.
        names: of the files, relative to it.
        labels: the class of every image, a place in `classes`, `(n,)`.
        groups: its group, a place in `group_names`, `(n,)`.
        split: `train`, `val` or `test`, for every image.
        classes, group_names: what classes and groups are called.
    """

    root: Path
    names: tuple[str, ...]
    labels: Int64[np.ndarray, " n"]
    groups: Int64[np.ndarray, " n"]
    split: tuple[str, ...]
    classes: tuple[str, ...]
    group_names: tuple[str, ...]

    def __len__(self) -> int:
        """Count the images."""
        return len(self.names)

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """What is known of every image."""
        return self._pictures

    @cached_property
    def _pictures(self) -> tuple[Picture, ...]:
        named = ({"group": self.group_names[i]} for i in self.groups)
        return tuple(map(Picture, map(spelled, self.names), (self.classes[i] for i in self.labels), named))

    def read(self, index: int) -> bytes:
        """Read the file of an image."""
        return read_file(self.root / self.names[index])

    def at(self, rows: Sequence[int] | Int64[np.ndarray, " m"]) -> Grouped:
        """Take some of the images, in the order asked for."""
        places = [int(row) for row in rows]
        return Grouped(
            self.root,
            tuple(self.names[row] for row in places),
            self.labels[places],
            self.groups[places],
            tuple(self.split[row] for row in places),
            self.classes,
            self.group_names,
        )

    def part(self, *splits: str, limit: int | None = None, seed: int = 0) -> Grouped:
        """Take the images of some splits; with a limit, as many of them at random.

        Raises:
            InputError: there are none.
        """
        rows = np.flatnonzero(self._in(splits))
        if not len(rows):
            known = ", ".join(dict.fromkeys(self.split))
            raise InputError(f"no image of {self.root} is in the split {' or '.join(splits)}: there are {known}")
        if limit is not None and limit < len(rows):
            rows = np.sort(np.random.default_rng(seed).permutation(rows)[:limit])
        return self.at(rows)

    def halves(self, limit: int | None = None) -> tuple[Grouped, Grouped]:
        """Split the images into those that train and those that test; unused validation images are logged as a warning.

        Raises:
            InputError: there are none of either.
        """
        unused = int(self._in(["val"]).sum())
        if unused:
            logger.warning("%s images of %s are in the validation split, which is not used", f"{unused:,}", self.root)
        return self.part("train", limit=limit), self.part("test", limit=limit)

    def require_groups(self) -> None:
        """Raise `InputError` unless every group has an image: there would be no accuracy of it."""
        empty = np.flatnonzero(np.bincount(self.groups, minlength=len(self.group_names)) == 0)
        if len(empty):
            name = self.group_names[int(empty[0])]
            raise InputError(f"group {name!r} has no image among {len(self)} of {self.root}: no accuracy without one")

    def _in(self, splits: Sequence[str]) -> Bool[np.ndarray, " n"]:
        return np.array([name in splits for name in self.split])


def grouped(
    root: Path,
    names: Sequence[str],
    labels: Sequence[str],
    groups: Sequence[str],
    split: Sequence[str] | None = None,
    *,
    classes: Sequence[str] | None = None,
    group_names: Sequence[str] | None = None,
) -> Grouped:
    """Images from columns of texts, as tables have them.

    Args:
        root: folder of the images.
        names: files, relative to it.
        labels: the class of each.
        groups: the group of each.
        split: `train`, `val` or `test`; without it half of every group trains and half tests, by a fixed seed.
        classes: the known classes, in order; by default those that occur, sorted.
        group_names: the same for groups.

    Raises:
        InputError: no image, a missing file, fewer than two classes, or an unknown split.
    """
    if not names:
        raise InputError(f"no images in {root}")
    missing = next((name for name in names if not (root / name).is_file()), None)
    if missing is not None:
        raise InputError(f"there is no image {root / missing}, which the table lists")
    known = tuple(classes) if classes is not None else _sorted(labels)
    if len(known) < 2:
        raise InputError(f"{root} has one class alone ({', '.join(known)}): a classifier needs two")
    together = tuple(group_names) if group_names is not None else _sorted(groups)
    places, rooms = ({name: i for i, name in enumerate(some)} for some in (known, together))
    groups_of = np.array([rooms[name] for name in groups], dtype=np.int64)
    splits = _halves(groups_of) if split is None else tuple(_split(name) for name in split)
    return Grouped(
        root,
        tuple(Path(name).as_posix() for name in names),
        np.array([places[name] for name in labels], dtype=np.int64),
        groups_of,
        splits,
        known,
        together,
    )


def _sorted(values: Sequence[str]) -> tuple[str, ...]:
    """Return the values that occur; numbers by size."""
    found = {*values}
    return tuple(sorted(found, key=int if all(v.lstrip("-").isdigit() for v in found) else str))


def _split(name: str) -> str:
    if name.lower() not in SPLIT_NAMES:
        raise SpecError(f"there is no split {name!r}{did_you_mean(name, SPLITS)}")
    return SPLIT_NAMES[name.lower()]


def _halves(groups: Int64[np.ndarray, " n"]) -> tuple[str, ...]:
    source = np.random.default_rng(0)
    found = np.full(len(groups), "test", dtype=object)
    for group in np.unique(groups):
        rows = source.permutation(np.flatnonzero(groups == group))
        found[rows[: max(1, round(SHARE * len(rows)))]] = "train"
    return tuple(found)
