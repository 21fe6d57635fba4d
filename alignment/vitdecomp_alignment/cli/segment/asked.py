"""A batch of images, what is asked of each, and the score of that: the probability of a class, or a cosine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vitdecomp.component import WHOLE
from vitdecomp.datasets.masks import MaskedImage
from vitdecomp.engine.granularity import By
from vitdecomp.heatmaps import Heatmaps
from vitdecomp_alignment.cli.heatmaps.methods import Methods
from vitdecomp_alignment.cli.heatmaps.traced import TracedModel
from vitdecomp_alignment.cli.segment.targets import Targets


@dataclass(frozen=True, slots=True)
class AskedBatch:
    """A batch, and images that are made from those of the batch, of which the same is asked.

    Attributes:
        traced: the model. targets: of all images. images: of the batch, as the model takes them.
        own: the target of each.
    """

    traced: TracedModel
    targets: Targets
    images: Float[Tensor, "n c h w"]
    own: Int64[Tensor, " n"]

    @classmethod
    def of(
        cls, traced: TracedModel, targets: Targets, images: Float[Tensor, "n c h w"], records: Sequence[MaskedImage]
    ) -> AskedBatch:
        """Find the target of each image."""
        own = targets.of(records, lambda: traced.decomposer.represent(images))
        return cls(traced, targets, images, own.to(images.device))

    def directions(self, rows: Int64[Tensor, " m"] | slice = slice(None)) -> Float[Tensor, "m 1 d"]:
        """Return the direction of each of some rows of the batch."""
        return self.targets.vectors.to(self.images.device)[self.own[rows]][:, None]

    def maps(self, methods: Methods) -> dict[str, Heatmaps]:
        """Make the maps of the batch by some methods."""
        return self.traced.maps(self.images, self.directions(), methods)

    @torch.no_grad()
    def score(self, images: Float[Tensor, "m c h w"], rows: Int64[Tensor, " m"]) -> Float[Tensor, " m"]:
        """Return the probability of each image's class, of the two where one is subtracted; or the cosine."""
        own, vectors, targets = self.own[rows], self._vectors(images), self.targets
        if targets.classifier is None:
            cosine: Tensor = (vectors * targets.vectors.to(vectors)[own]).sum(1) / vectors.norm(dim=1)
            return cosine
        logits = targets.classifier.layer(vectors).float()
        chosen = logits.gather(1, own[:, None])[:, 0]
        if targets.minus is None:
            return torch.exp(chosen - logits.logsumexp(1))
        return torch.sigmoid(chosen - logits[:, targets.minus])

    @torch.no_grad()
    def predict(self, images: Float[Tensor, "m c h w"], rows: Int64[Tensor, " m"]) -> Int64[Tensor, " m"]:
        """Return the class of each image, or the nearest of all texts."""
        vectors, classifier = self._vectors(images), self.targets.classifier
        logits = vectors @ self.targets.vectors.to(vectors).T if classifier is None else classifier.layer(vectors)
        return logits.argmax(1)

    def _vectors(self, images: Float[Tensor, "m c h w"]) -> Float[Tensor, "m d"]:
        """Compute the representations, in the texts' space where there are maps."""
        decomposer, aligner = self.traced.decomposer, self.traced.aligner
        if aligner is None:
            return decomposer.represent(images)
        by: By = "representation" if WHOLE in aligner.components_ else "head"
        return aligner.transform(decomposer.transform(images, by)).total()
