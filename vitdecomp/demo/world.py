"""The pictures that the demo looks at, and what is known of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int64
from PIL import Image

from vitdecomp.images.opening import find_images, open_images
from vitdecomp.scenes import FACTORS, Scene, SceneDataset

SPLIT = "test"  # no model was trained on these
FEWEST = 20  # pictures of a class, for measures on parts of them


@dataclass(frozen=True, slots=True)
class World:
    """Pictures with their truth, if it is known.

    Attributes:
        source: what they are, in words. pictures: all of them. names: a caption or a file name for each.
        labels: the number of every factor's value, by factor; empty if nothing is known.
        values: names of the values. masks: where the main object is.
        crowded: whether a picture makes a poor example, with a small or a covered object, or with two.
        unknown: why there are no labels, if there are none.
    """

    source: str
    pictures: tuple[Image.Image, ...]
    names: tuple[str, ...]
    labels: Mapping[str, Int64[np.ndarray, "n"]] = field(default_factory=dict)
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    masks: Bool[np.ndarray, "n 64 64"] | None = None
    crowded: Bool[np.ndarray, " n"] | None = None
    unknown: str = ""

    def __len__(self) -> int:
        return len(self.pictures)

    def some(self, n: int) -> World:
        """Return at most n of the pictures, spread over all of them."""
        if n >= len(self):
            return self
        kept = np.linspace(0, len(self) - 1, n).round().astype(int)
        return replace(
            self,
            pictures=tuple(self.pictures[i] for i in kept),
            names=tuple(self.names[i] for i in kept),
            labels={factor: numbers[kept] for factor, numbers in self.labels.items()},
            masks=None if self.masks is None else self.masks[kept],
            crowded=None if self.crowded is None else self.crowded[kept],
        )

    def examples(self, places: Int64[np.ndarray, " k"], n: int) -> list[int]:
        """Choose the first n of some images, those that make a poor example last."""
        crowded = np.zeros(len(places)) if self.crowded is None else self.crowded[places]
        found: list[int] = places[np.argsort(crowded, kind="stable")][:n].tolist()
        return found

    def value(self, factor: str, index: int) -> str:
        """Return the name of an image's value."""
        return self.values[factor][int(self.labels[factor][index])]


def scenes_world(n: int, seed: int) -> World:
    """Pictures of the embedded world, of which everything is known."""
    samples = [SceneDataset(n, seed, SPLIT).sample(i) for i in range(n)]
    return World(
        source=f"scenes of the embedded world, {SPLIT} split, seed {seed}",
        pictures=tuple(Image.fromarray(sample.image) for sample in samples),
        names=tuple(sample.caption for sample in samples),
        labels={f: np.array([sample.labels[f] for sample in samples], dtype=np.int64) for f in FACTORS},
        values=FACTORS,
        masks=np.stack([sample.mask for sample in samples]),
        crowded=np.array([_crowded(sample.scene) for sample in samples]),
    )


def _crowded(scene: Scene) -> bool:
    return scene.second is not None or scene.occluded or scene.size == "small"


def folder_world(place: Path, n: int, *, strict: bool = False) -> World:
    """Open at most n images of a folder, spread over all of it; the names of its folders are classes.

    Raises:
        InputError: there is no such folder, no image in it that can be read, or one that cannot be and `strict`.
    """
    found = find_images(place)
    root = place if place.is_dir() else place.parent
    chosen = [found[i] for i in np.linspace(0, len(found) - 1, min(n, len(found))).round().astype(int)]
    images = open_images(chosen, strict=strict)
    files = [*images]
    folders = [file.relative_to(root).parts[0] if file.parent != root else "" for file in files]
    counts = Counter(folders)
    known = len(counts) > 1 and "" not in counts and min(counts.values()) >= FEWEST
    classes = tuple(sorted(counts))
    return World(
        source=f"pictures in {place}",
        pictures=tuple(images.values()),
        names=tuple(file.relative_to(root).as_posix() for file in files),
        labels={"class": np.array([classes.index(folder) for folder in folders], dtype=np.int64)} if known else {},
        values={"class": classes} if known else {},
        unknown="" if known else f"the pictures do not lie in two or more folders with {FEWEST} or more in each",
    )
