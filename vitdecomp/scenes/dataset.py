"""The pictures as a data set of torch, with labels, captions and masks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from jaxtyping import Int64, UInt8
from torch.utils.data import Dataset

from vitdecomp.errors import SpecError
from vitdecomp.scenes import folder as folders
from vitdecomp.scenes.factors import FACTORS, SIDE, known
from vitdecomp.scenes.grid import Image, Mask
from vitdecomp.scenes.render import draw
from vitdecomp.scenes.scene import Scene, draw_labels, draw_scene
from vitdecomp.scenes.subsets import Correlation, Spec


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture, where its main object is visible, and what is known of it."""

    image: Image
    mask: Mask
    scene: Scene
    caption: str
    labels: dict[str, int]


class SceneDataset(Dataset[tuple[Any, int]]):
    """Pictures of 64 x 64 pixels that a seed decides, the same everywhere; no two splits share one.

    Args:
        n: how many; picture i is the same whatever n is.
        seed: a non-negative integer.
        split: `"train"`, `"val"` or `"test"`.
        subset: a name in `SUBSETS`.
        correlate: ties between factors, applied one after another.
        target: the factor that items are labelled with; default: the class in subsets with groups, else the shape.
        transform: applied to the PIL image of an item.
        word_probability: how often a word is written over a picture (always, in the typographic subset).
        word_truth: how often such a word names the right value (never, in the typographic subset).

    Raises:
        SpecError: an unknown name, or a number outside its range.
    """

    def __init__(  # noqa: PLR0913 - one parameter per property of the pictures
        self,
        n: int = 1000,
        seed: int = 0,
        split: str = "train",
        subset: str = "plain",
        *,
        correlate: Iterable[Correlation] = (),
        target: str | None = None,
        transform: Callable[[PIL.Image.Image], Any] | None = None,
        word_probability: float = 0.0,
        word_truth: float = 0.2,
    ) -> None:
        if n < 0:
            raise SpecError(f"the number of images must not be negative, not {n}")
        self.spec = Spec(seed, split, subset, tuple(correlate), word_probability, word_truth)
        self.n = n
        self.target = target if target is None else known("factor", target, FACTORS)
        self.transform = transform

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the target's values."""
        if self.target is None and self.spec.grouping is not None:
            return tuple(self.spec.grouping.classes)
        return FACTORS[self.target or "shape"]

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """Return the image, transformed, and the number of its class."""
        scene = self.scene(index)
        picture = PIL.Image.fromarray(draw(scene)[0])
        return (self.transform(picture) if self.transform else picture), self._numbered(scene)["target"]

    def scene(self, index: int) -> Scene:
        """Return what image `index` shows, without drawing it."""
        return draw_scene(self.spec, self._checked(index))

    def sample(self, index: int) -> Sample:
        """Picture `index` and all that is known of it."""
        scene = self.scene(index)
        image, mask = draw(scene)
        return Sample(image, mask, scene, scene.caption, self._numbered(scene))

    @cached_property
    def labels(self) -> dict[str, Int64[np.ndarray, "n"]]:
        """The number of every factor's value, of the target, and of the group if there are groups."""
        known_labels = [self._with_target(draw_labels(self.spec, index)) for index in range(self.n)]
        names = self._with_target(draw_labels(self.spec, 0))
        return {name: np.array([labels[name] for labels in known_labels], dtype=np.int64) for name in names}

    @cached_property
    def captions(self) -> list[str]:
        """A sentence about every picture."""
        return [draw_scene(self.spec, index).caption for index in range(self.n)]

    def arrays(self, indices: Sequence[int], workers: int = 0, moment: int = 0) -> UInt8[np.ndarray, "k 64 64 3"]:
        """Draw some images into one array.

        Args:
            indices: which ones.
            workers: processes that draw; 0 draws in this one. A script needs `if __name__ == "__main__":` for more.
            moment: another moment of the same scenes, as `vitdecomp.scenes.render.draw` has it.
        """
        wanted = [self._checked(index) for index in indices]
        if workers <= 0:
            return _draw_all(self.spec, moment, wanted)
        size = -(-len(wanted) // workers) or 1
        parts = [wanted[start : start + size] for start in range(0, len(wanted), size)]
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            drawn = list(pool.map(partial(_draw_all, self.spec, moment), parts))
        return np.concatenate([_draw_all(self.spec, moment, []), *drawn])

    def write(
        self, folder: Path | str, progress: Callable[[int, int], object] | None = None, *, masks: bool = False
    ) -> None:
        """Write the pictures for torchvision's ImageFolder, or with masks; see `vitdecomp.scenes.folder.write`."""
        folders.write(self, Path(folder), progress, masks=masks)

    def _checked(self, index: int) -> int:
        if not -self.n <= index < self.n:
            raise IndexError(f"image {index} of {self.n}")
        return int(index) % self.n

    def _numbered(self, scene: Scene) -> dict[str, int]:
        labels = {name: FACTORS[name].index(value) for name, value in scene.values.items()}
        return self._with_target(labels if scene.group is None else {**labels, "group": scene.group})

    def _with_target(self, labels: dict[str, int]) -> dict[str, int]:
        grouped = self.target is None and "group" in labels
        return {**labels, "target": labels["group"] // 2 if grouped else labels[self.target or "shape"]}


def _draw_all(spec: Spec, moment: int, indices: list[int]) -> UInt8[np.ndarray, "k 64 64 3"]:
    pictures = np.empty((len(indices), SIDE, SIDE, 3), dtype=np.uint8)
    for row, index in enumerate(indices):
        pictures[row] = draw(draw_scene(spec, index), moment)[0]
    return pictures
