"""Classes that go with a cue, drawn or photographed: images of three parts, and texts that name patches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from vitdecomp_alignment.texts import named_texts, usual_texts
from vitdecomp_alignment.texts.scene import scene_values

from vitdecomp import LoadedModel, SpecError
from vitdecomp.datasets.grouped import read
from vitdecomp.datasets.grouped.formats import Columns
from vitdecomp.images.opening import open_image
from vitdecomp.models.preprocessing import preprocessing
from vitdecomp.scenes import SceneDataset
from vitdecomp.scenes.subsets import SUBSETS, Grouping

TUNED, TRAINED = 61, 60  # seeds of the settings and of the classifier
NAMING = ("shape", "colour", "pattern", "location")  # factors whose values name patches
CLASS, CUE, OTHER = "class", "cue", "other"  # what the texts of photographs are of


@dataclass(frozen=True, eq=False)  # each is known by itself: what was found of it is kept in dictionaries
class Labelled:
    """Hold images with their classes and groups: group is 2 * class + side of the cue."""

    images: Tensor
    labels: Tensor
    groups: Tensor

    def at(self, rows: Tensor) -> Labelled:
        """Take some of the images."""
        return Labelled(self.images[rows], self.labels[rows], self.groups[rows])


@dataclass(frozen=True)
class Task:
    """A class that a classifier learns, a cue that goes with it, and texts that name patches.

    Attributes:
        title: class and cue in words. values: texts by what they say, in the form `FACTOR: VALUE`.
        own, cue: the factors that the class and the cue are of.
        train, tuned, test: images to learn from, to choose settings on, and to report on.
    """

    title: str
    values: Mapping[str, tuple[str, ...]]
    own: str
    cue: str
    train: Labelled
    tuned: Labelled
    test: Labelled

    @property
    def owners(self) -> tuple[str, ...]:
        """The factor of each value."""
        return tuple(name.split(": ")[0] for name in self.values)

    def tied(self) -> Task:
        """Let the classifier learn from images in all of which the cue goes with the class, as many of each class."""
        counts = torch.bincount(self.train.groups, minlength=4).tolist()
        pair = max(((0, 3), (1, 2)), key=lambda some: min(counts[i] for i in some))
        few = min(counts[i] for i in pair)
        rows = torch.cat([(self.train.groups == i).nonzero()[:few, 0] for i in pair]).sort().values
        return replace(self, title=f"{self.title}; always, in {len(rows)} of them", train=self.train.at(rows))


def scene_task(
    subset: str, preprocess: Callable[[Image.Image], Tensor], trained: int, n: int, seeds: list[int]
) -> Task:
    """Draw biased scenes to learn from, and scenes of even groups.

    Args:
        subset: celeba or waterbirds.
        preprocess: a picture to what the model takes.
        trained: scenes to learn from.
        n: scenes of each seed.
        seeds: of the scenes that are reported.

    Raises:
        SpecError: there is no such subset, or it has no groups.
    """
    data = SceneDataset(trained, TRAINED, "train", subset)
    g = grouping_of(subset)
    values = {f"{f}: {value}": texts for f in NAMING for value, texts in scene_values()[f].items()}
    title = f"{g.factor} ({' or '.join(g.classes)}) from scenes where {g.beside} ({' or '.join(g.sides)}) goes with it"
    some = [SceneDataset(n, seed, "test", subset) for seed in seeds]
    tuned = [SceneDataset(n, TUNED, "test", subset)]
    train, chosen, test = (_scenes(each, preprocess) for each in ([data], tuned, some))
    return Task(title, values, g.factor, g.beside, train, chosen, test)


def grouping_of(subset: str) -> Grouping:
    """Return what class and cue of a subset are.

    Raises:
        SpecError: it has none.
    """
    found = SUBSETS[subset].grouping if subset in SUBSETS else None
    if found is None:
        known = ", ".join(name for name, each in SUBSETS.items() if each.grouping)
        raise SpecError(f"--subset {subset}: no scenes with a class and a cue; give one of {known}")
    return found


def _scenes(data: Sequence[SceneDataset], preprocess: Callable[[Image.Image], Tensor]) -> Labelled:
    images = torch.stack([preprocess(each[i][0]) for each in data for i in range(len(each))])
    labels, groups = (
        torch.from_numpy(np.concatenate([each.labels[name] for each in data])) for name in ("target", "group")
    )
    return Labelled(images, labels, groups)


@dataclass(frozen=True)
class Photographs:
    """A data set of photographs with classes and groups, and the texts of both.

    Attributes:
        place: its folder. kind: celeba or waterbirds. target, cue: attributes of CelebA. trained: photographs to learn
            from, at most; n: of each other split. class_texts, cue_texts: of the class and the cue. texts: a pool, or a
            file with one text a line, of what else is seen.
    """

    place: Path
    kind: str
    target: str
    cue: str
    trained: int
    n: int
    class_texts: Sequence[str]
    cue_texts: Sequence[str]
    texts: str | None

    def task(self, loaded: LoadedModel) -> Task:
        """Open the photographs of all splits.

        Raises:
            InputError: no such data set, an empty split or group, no such texts, or a photograph that cannot be read.
            SpecError: no such attribute.
        """
        data = read(self.place, Columns(target=self.target, beside=self.cue), self.kind)
        words = {CLASS: self.class_texts, CUE: self.cue_texts}
        taken = {text for texts in words.values() for text in texts}
        known = named_texts(self.texts) if self.texts else usual_texts(loaded.spec)
        words[OTHER] = [text for text in known if text not in taken]
        values = {f"{owner}: {text}": (text,) for owner, texts in words.items() for text in texts}
        preprocess, found = preprocessing(loaded), list[Labelled]()
        for split, limit in (("train", self.trained), ("val", self.n), ("test", self.n)):
            part = data.part(split, limit=limit)
            if split != "train":
                part.require_groups()
            images = torch.stack([preprocess(open_image(part.root / name)) for name in part.names])
            found.append(Labelled(images, torch.from_numpy(part.labels), torch.from_numpy(part.groups)))
        title = f"{' or '.join(data.classes)}; groups: {'; '.join(data.group_names)}"
        return Task(title, values, CLASS, CUE, *found)
