"""Classifiers that learned from biased pictures, and what their model says of patches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from attribute_tasks import OTHER, Labelled, Task
from reading_clip import value_vectors
from removal import METHODS, nearest, patch_numbers, refused, removed, saliency
from torch import Tensor
from torch.nn.functional import normalize
from vitdecomp_alignment import ClipSpace

import vitdecomp as vd
from vitdecomp import Contributions, Decomposer, FeatureScorer, LoadedModel
from vitdecomp.ablation.linear_head import LinearHead
from vitdecomp.component import Component
from vitdecomp.latent import Smoothing

DRIFT = 200  # images that settings are chosen on, on which the noise is measured
NOISES: Mapping[str, Smoothing | None] = {"": None, ", smoothed": Smoothing(draws=16, factor=0.1)}  # ways to read


@dataclass(frozen=True)
class World:
    """Images, and what a model says of their tokens.

    Attributes:
        given: the images. best: by way of reading, the value that the best text of each patch is of, `(n, layer,
            patch)`; cosine: the largest one with a direction of the cue. maps: saliency by method. c: contributions.
    """

    given: Labelled
    best: Mapping[str, Tensor]
    cosine: Mapping[str, Tensor]
    maps: Mapping[str, Tensor]
    c: Contributions


@dataclass(frozen=True)
class Known:
    """Keep what a model says of images, whatever its classifier: several classifiers of the same images share it.

    Attributes:
        read: values and cosines by way of reading, and contributions, of images.
        removed: representations of images without patches in front of blocks.
    """

    read: dict[Labelled, tuple[dict[str, Tensor], dict[str, Tensor], Contributions]] = field(default_factory=dict)
    removed: dict[tuple[Labelled, bytes, tuple[int, ...]], Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Subject:
    """A model with a biased classifier.

    Attributes:
        head: the classifier. ranking: components, those of the cue first. methods: those that make heatmaps of the
            model. vectors: of the values, `(value, d)`. notes: what the reader of the table should know.
    """

    task: Task
    dec: Decomposer
    head: LinearHead
    train: Contributions
    ranking: Sequence[Component]
    methods: Sequence[str]
    vectors: Tensor
    notes: Sequence[str]
    known: Known

    @classmethod
    def fit(cls, task: Task, loaded: LoadedModel, clip: ClipSpace, known: Known) -> Subject:
        """Train the classifier on biased images, and rank components by what texts say of them there."""
        images, labels = task.train.images, task.train.labels
        dec = Decomposer(loaded).fit(images[:2])
        c = dec.transform(images)
        head = LinearHead.fit(c.total(), labels.numpy(), 2)
        words: dict[str, list[str]] = {}
        for owner, texts in zip(task.owners, task.values.values(), strict=True):
            words.setdefault(owner, []).extend(texts)
        clip.encode_text(words.get(OTHER) or words[task.own])  # many at a time: `clip` keeps them
        encoded = {owner: clip.encode_text(texts).cpu() for owner, texts in words.items() if owner != OTHER}
        scorer = FeatureScorer(bootstrap=0, shuffles=0).fit(c, encoded)
        ranking = [each for each in scorer.contrast(task.cue, task.own) if each in c.components]
        without = refused(dec, images[0], head.weight[0].to(images), METHODS)
        methods = [name for name in METHODS if name not in without]
        notes = [f"No row of {name}: {reason}" for name, reason in without.items()]
        return cls(task, dec, head, c, ranking, methods, value_vectors(clip, task.values).cpu(), notes, known)

    def owned(self, by: str) -> Tensor:
        """Check which values a factor owns."""
        return torch.tensor([owner == by for owner in self.task.owners])

    def world(self, given: Labelled) -> World:
        """Read tokens and heatmaps of images."""
        if given not in self.known.read:
            self.known.read[given] = (*self._read(given.images), self.dec.transform(given.images))
        best, cosine, c = self.known.read[given]
        told = self.head(self.dec.represent(given.images)).argmax(1)
        weight = self.head.weight[told] - self.head.weight[1 - told]
        maps = saliency(self.dec, given.images, weight.to(given.images), self.methods)
        return World(given, best, cosine, maps, c)

    def _read(self, images: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Find the nearest value of each patch of each layer, and its cosine with the cue, by every way of reading."""
        latent = vd.LatentTokens(self.dec).fit(self.task.tuned.images[:DRIFT])
        patches = patch_numbers(self.dec, images[0])
        cues = normalize((self.vectors - self.vectors.mean(0))[self.owned(self.task.cue)], dim=1)
        best, cosine = dict[str, Tensor](), dict[str, Tensor]()
        for name, smoothing in NOISES.items():
            parts = list[tuple[Tensor, Tensor]]()
            for z in latent.batches(images, tokens=patches, smoothing=smoothing):
                x = normalize(z, dim=-1)
                parts.append((nearest(x, self.vectors), (x @ cues.T.to(x)).amax(-1)))
            best[name], cosine[name] = (torch.cat(some) for some in zip(*parts, strict=True))
        return best, cosine

    def without(self, given: Labelled, patches: Tensor, at: Sequence[int]) -> Tensor:
        """Return representations with patches set to zero in front of some blocks."""
        key = given, patches.numpy().tobytes(), tuple(at)
        if key not in self.known.removed:
            self.known.removed[key] = removed(self.dec, given.images, patches, at)
        return self.known.removed[key]
