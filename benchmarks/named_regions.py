"""Regions of scenes that a model's latent tokens name rightly, others of equal area, and what masking them costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from latent_scenes import UNDER, Subject, World, values_of
from torch import Tensor
from torch.nn.functional import interpolate, normalize
from vitdecomp_alignment import ClipSpace
from vitdecomp_alignment.texts.scene import scene_values

from vitdecomp.scenes import FACTORS


@dataclass(frozen=True)
class Vocabulary:
    """The values of all factors.

    Attributes:
        names: factor and value of each. vectors: of unit length, `(value, d)`. centered: for each factor the vectors
            of its values, minus their mean.
    """

    names: Sequence[tuple[str, str]]
    vectors: Tensor
    centered: Mapping[str, Tensor]

    @classmethod
    def of(cls, clip: ClipSpace) -> Vocabulary:
        """Encode the texts."""
        names = [(factor, value) for factor in UNDER for value in FACTORS[factor]]
        means = [normalize(clip.encode_text(scene_values()[f][v]).double(), dim=1).mean(0) for f, v in names]
        return cls(names, normalize(torch.stack(means), dim=1), values_of(clip))

    def numbers(self, world: World, factor: str) -> Tensor:
        """Return the number of the true value of each scene."""
        return world.truth[factor] + [name for name, _ in self.names].index(factor)


@dataclass(frozen=True)
class Read:
    """Scenes, and what the patches of each layer are named.

    Attributes:
        images: `(n, 3, height, width)`. whole: their representations in the space of texts, of unit length. grid: of
            the patches. best: numbers of the nearest values, `(n, layer, patch)`.
    """

    subject: Subject
    vocabulary: Vocabulary
    world: World
    images: Tensor
    whole: Tensor
    grid: tuple[int, int]
    best: Tensor

    @classmethod
    def of(cls, subject: Subject, vocabulary: Vocabulary, world: World, images: Tensor) -> Read:
        """Read tokens."""
        kinds = subject.tokens.tokens_
        patches = [i for i, token in enumerate(kinds) if token.kind == "patch"]
        grid = kinds[patches[0]].grid
        assert grid is not None
        parts = (subject.mapped(z[:, :, patches]).double() for z in subject.tokens.batches(images))
        best = [(normalize(x, dim=-1) @ vocabulary.vectors.T).argmax(-1) for x in parts]
        return cls(subject, vocabulary, world, images, represented(subject, images), grid, torch.cat(best))

    def region(self, factors: Sequence[str], layer: int) -> Tensor:
        """Mark the patches that are named by a true value, `(n, patch)`."""
        numbers = [self.vocabulary.numbers(self.world, factor)[:, None] for factor in factors]
        return torch.stack([self.best[:, layer] == each for each in numbers]).any(0)

    def scored(self, factors: Sequence[str], region: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the cosine with the true values, and whether they are nearest, as means over factors, `(n,)`."""
        x = self.whole if region is None else represented(self.subject, self.masked(region))
        scores, right = list[Tensor](), list[Tensor]()
        for factor in factors:
            truth, vectors = self.world.truth[factor], self.vocabulary.centered[factor].double()
            scores.append((x @ normalize(vectors, dim=1).T).gather(1, truth[:, None])[:, 0])
            right.append(((x @ vectors.T).argmax(1) == truth).double())
        return torch.stack(scores).mean(0), torch.stack(right).mean(0)

    def masked(self, region: Tensor) -> Tensor:
        """Put the mean color of all scenes in the place of some patches."""
        pixels = interpolate(region.unflatten(1, self.grid)[:, None].float(), self.images.shape[-2:], mode="nearest")
        return torch.where(pixels.bool(), self.images.mean((0, 2, 3))[:, None, None], self.images)

    def directions(self, factor: str) -> Tensor:
        """Return the values of a factor as directions of the representation, `(value, d)`."""
        vectors, weight = self.vocabulary.centered[factor], self.subject.weight
        return vectors if weight is None else vectors @ weight.double().T


def represented(subject: Subject, images: Tensor) -> Tensor:
    """Return representations in the space of texts, of unit length."""
    return normalize(subject.mapped(subject.represent(images)).double(), dim=-1)


def random_patches(region: Tensor, generator: torch.Generator) -> Tensor:
    """Mark as many patches of each image at random."""
    order = torch.rand(region.shape, generator=generator).argsort(1).argsort(1)
    return order < region.sum(1, keepdim=True)


def moved(region: Tensor, grid: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Move the region of each image to a random place, around the edges; never back to where it was."""
    steps = torch.randint(1, grid[0] * grid[1], (len(region),), generator=generator).tolist()
    rolled = [
        torch.roll(each.unflatten(0, grid), divmod(step, grid[1]), (0, 1)).flatten()
        for each, step in zip(region, steps, strict=True)
    ]
    return torch.stack(rolled)
