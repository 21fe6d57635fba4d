"""Attacked pictures beside their plain twins, drawn or photographed, and what a model says of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from reading_clip import FACTORS_TOLD, NOTHING, WRITING, reading_clip, value_vectors
from removal import METHODS, nearest, patch_numbers, refused, saliency
from torch import Tensor
from torch.nn.functional import normalize
from vitdecomp_alignment import ClipSpace
from vitdecomp_alignment.texts import named_texts, usual_texts
from vitdecomp_alignment.texts.scene import scene_values

import vitdecomp as vd
from vitdecomp import Decomposer, InputError, LoadedModel
from vitdecomp.datasets import PairsDataset
from vitdecomp.heatmaps.grid import summed
from vitdecomp.models.adapter import load_model
from vitdecomp.models.preprocessing import preprocessing
from vitdecomp.scenes import FACTORS, SceneDataset
from vitdecomp.scenes.render import draw

TUNED = 61  # the seed of the scenes that settings are chosen on
COVERED = 0.05  # share of a patch from which it lies under a word
UNKNOWN = -1  # the number of a written word that nobody knows
FEWEST = 4  # pairs, since half of them choose settings
Both = tuple[Tensor, Tensor]  # of attacked and of plain images


@dataclass(frozen=True)
class Views:
    """Attacked images and their twins.

    Attributes:
        attacked, plain: `(n, 3, height, width)`. labels, written: numbers of classes, `(n,)`.
        changed: the pixels under a word, `(n, height, width)`; `None` where nobody knows.
    """

    attacked: Tensor
    plain: Tensor
    labels: Tensor
    written: Tensor
    changed: Tensor | None = None

    def at(self, rows: Tensor) -> Views:
        """Take some of the pairs."""
        parts = (each if each is None else each[rows] for each in vars(self).values())
        return Views(*parts)


@dataclass(frozen=True)
class World:
    """Attacked images and their twins, with what a model says of their tokens.

    Attributes:
        views: the images. under: patches under a word, `(n, patch)`; `None` where nobody knows.
        said: numbers of the best texts of the patches, `(n, layer, patch)`, of both. maps: saliency by method, of both.
    """

    views: Views
    under: Tensor | None
    said: Both
    maps: Mapping[str, Both]


@dataclass(frozen=True)
class Subject:
    """A model that reads, and the texts that name classes and patches.

    Attributes:
        classes: vectors. texts: vectors of what may be said of a patch. methods: those that make heatmaps of the model.
        notes: what the reader of the table should know.
    """

    loaded: LoadedModel
    dec: Decomposer
    classes: Tensor
    texts: Mapping[str, Tensor]
    methods: Sequence[str]
    notes: Sequence[str] = ()

    def world(self, views: Views) -> World:
        """Read tokens and heatmaps of images."""
        both = views.attacked, views.plain
        latent = vd.LatentTokens(self.dec).fit(both[0][:1])
        patches, vectors = patch_numbers(self.dec, both[0][0]), torch.stack([*self.texts.values()])
        grid = latent.tokens_[patches[0]].grid
        assert grid is not None
        under = None
        if views.changed is not None:
            pixels = views.changed[0].numel() / len(patches)
            under = summed(views.changed.double(), grid).flatten(1) / pixels >= COVERED
        said = []
        for images in both:
            parts = (nearest(normalize(z[:, :, patches], dim=-1), vectors) for z in latent.batches(images))
            said.append(torch.cat([*parts]))
        told = [self.classes[self.answers(self.dec.represent(x))] for x in both]
        maps = [saliency(self.dec, x, some, self.methods) for x, some in zip(both, told, strict=True)]
        return World(views, under, (said[0], said[1]), {m: (maps[0][m], maps[1][m]) for m in self.methods})

    def answers(self, z: Tensor) -> Tensor:
        """Return the numbers of the nearest classes."""
        return nearest(z, self.classes)

    def named(self, tuned: World, layer: int, ratio: float) -> list[int]:
        """Return the numbers of the texts that are said under words more often than elsewhere.

        Where nobody knows the patches under words, a text is taken to be said there as many times more as attacked
        images have it than plain ones.
        """
        attacked, plain = (each[:, layer] for each in tuned.said)
        count = len(self.texts)
        whole, beside = (torch.bincount(each.flatten(), minlength=count) for each in (attacked, plain))
        if tuned.under is None:
            on = (whole - beside).clamp_min(0)
        else:
            on = torch.bincount(attacked[tuned.under], minlength=count)
        off = whole - on + beside
        return [i for i in range(count) if on[i] > 0 and on[i] >= ratio * off[i]]

    def said_by(self, said: Tensor, lists: Mapping[int, list[int]]) -> Tensor:
        """Check which patches have, in one of some layers, a best text on its list."""
        named = (torch.isin(said[:, k], torch.tensor(some, dtype=torch.long)) for k, some in lists.items())
        return torch.stack([*named]).any(0)


def scene_subject(clip: ClipSpace, progress: Callable[[int, int, float], object]) -> Subject:
    """Load the CLIP of scenes that reads, or train it first."""
    loaded = reading_clip(clip, progress)
    image = Image.fromarray(SceneDataset(1, TUNED).sample(0).image)
    dec = Decomposer(loaded).fit(preprocessing(loaded)(image)[None])
    values = {f"{value}": texts for f in FACTORS_TOLD for value, texts in scene_values()[f].items()}
    values |= {"writing": WRITING, "no writing": NOTHING}
    vectors = value_vectors(clip, values)
    classes = value_vectors(clip, scene_values()["shape"])
    return Subject(loaded, dec, classes, dict(zip(values, vectors, strict=True)), METHODS)


def scene_views(loaded: LoadedModel, n: int, seeds: Sequence[int]) -> Views:
    """Draw scenes with and without a wrong word."""
    data = [SceneDataset(n, seed, "test", "typographic") for seed in seeds]
    scenes = [each.scene(i) for each in data for i in range(n)]
    twins = [replace(scene, word=None) for scene in scenes]
    drawn = [np.stack([draw(scene)[0] for scene in some]) for some in (scenes, twins)]
    preprocess = preprocessing(loaded)
    attacked, plain = (torch.stack([preprocess(Image.fromarray(image)) for image in images]) for images in drawn)
    changed = torch.from_numpy((drawn[0] != drawn[1]).any(-1))
    labels, written = (
        torch.tensor([FACTORS["shape"].index(str(getattr(s, what))) for s in scenes]) for what in ("shape", "word")
    )
    return Views(attacked, plain, labels, written, changed)


def pairs_subject(spec: str, pairs: PairsDataset, texts: str | None, prompt: str) -> Subject:
    """Load a model with texts for pairs of photographs.

    Args:
        spec: of the model.
        pairs: whose classes it should tell apart.
        texts: the name of a pool, or a file with one text a line, by which patches are named.
        prompt: that a class is put into.

    Raises:
        SpecError: no such model, or it has no texts.
        InputError: there are no such texts.
    """
    known = named_texts(texts) if texts else usual_texts(spec)
    loaded = load_model(spec)
    clip = ClipSpace(loaded)
    preprocess = preprocessing(loaded)
    image = preprocess(pairs[0][0])
    dec = Decomposer(loaded).fit(image[None])
    classes = clip.encode_text([label.replace("_", " ") for label in pairs.classes], templates=[prompt]).cpu()
    without = refused(dec, image, classes[0], METHODS)
    methods = [name for name in METHODS if name not in without]
    notes = [f"No row of {name}: {reason}" for name, reason in without.items()]
    return Subject(loaded, dec, classes, dict(zip(known, clip.encode_text(known).cpu(), strict=True)), methods, notes)


def pairs_views(loaded: LoadedModel, pairs: PairsDataset, n: int | None, seed: int) -> tuple[Views, Views]:
    """Open photographs, and split them at random into those that choose settings and those that are reported.

    Pairs that share a plain photograph stay together.

    Args:
        loaded: the model, for its preprocessing.
        pairs: of photographs.
        n: how many at most; `None` for all.
        seed: of the draw and the split.

    Raises:
        InputError: too few, or a photograph that cannot be read.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(pairs), generator=generator)[:n].tolist()
    photographs = list(dict.fromkeys(pairs.pairs[i].plain for i in rows))
    if len(rows) < FEWEST or len(photographs) < 2:
        raise InputError(
            f"{pairs.root}: {len(rows)} pairs of {len(photographs)} plain photographs; half of them choose settings, "
            f"so give {FEWEST} pairs or more, of 2 plain photographs or more"
        )
    preprocess = preprocessing(loaded)
    opened = [pairs[i] for i in rows]
    plain, attacked = (torch.stack([preprocess(image) for image in some]) for some in zip(*opened, strict=True))
    number = {name: i for i, name in enumerate(pairs.classes)}
    labels = torch.tensor([number[pairs.pairs[i].label] for i in rows])
    written = torch.tensor([number.get(pairs.pairs[i].word or "", UNKNOWN) for i in rows])
    first = set(photographs[: len(photographs) // 2])
    tuning = torch.tensor([pairs.pairs[i].plain in first for i in rows])
    views = Views(attacked, plain, labels, written)
    return views.at(tuning), views.at(~tuning)
