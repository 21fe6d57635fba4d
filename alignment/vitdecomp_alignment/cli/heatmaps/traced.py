"""A traced model with all that its heatmaps depend on beside the images and what is asked of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from vitdecomp.contributions import Contributions
from vitdecomp.decompose import Decomposer
from vitdecomp.heatmaps import Heatmaps, explain_each
from vitdecomp.heatmaps.directions import Asked
from vitdecomp.models.prepare import PreparedModel, fitted
from vitdecomp_alignment.aligners.linear import LinearAligner
from vitdecomp_alignment.cli.heatmaps.methods import MethodConfig, Methods
from vitdecomp_alignment.cli.options import check_top
from vitdecomp_alignment.clip.maps import MapsToClip
from vitdecomp_alignment.clip.space import ClipSpace


@dataclass(frozen=True, slots=True)
class PathConfig:
    """Say which vector of the model is explained, and which attentions are walked through."""

    output: str = "embedding"
    through: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TracedModel:
    """A traced model.

    Attributes:
        decomposer: of the model. components: that are explained, all if there are none.
        aligner, space: maps, and whose texts are read, if they are needed. shifts: of the images.
    """

    decomposer: Decomposer
    components: tuple[str, ...]
    aligner: LinearAligner | None
    space: ClipSpace | None
    shifts: int

    @classmethod
    def of(
        cls,
        subject: PreparedModel,
        image: Tensor,
        config: MethodConfig,
        paths: PathConfig,
        *,
        maps: MapsToClip | None,
        space: ClipSpace | None,
    ) -> TracedModel:
        """Trace a model, and check that the maps are for it.

        Raises:
            InputError: maps of another model.
        """
        decomposer = Decomposer(subject.loaded, output=paths.output, through=paths.through or "auto")
        decomposer = fitted(decomposer.fit, image, subject)
        aligner = None if maps is None else maps.aligner
        if aligner is not None and aligner.origin_ is not None:
            aligner.origin_.check(decomposer.origin_, "the maps are for")
        return cls(decomposer, config.components, aligner, space, config.shifts)

    def maps(
        self, images: Tensor, asked: Asked, methods: Methods, *, gap: bool = False, labels: Sequence[str] = ()
    ) -> dict[str, Heatmaps]:
        """Make the maps of a batch by some methods with their settings."""
        return explain_each(
            self.decomposer,
            images,
            asked,
            methods,
            components=self.components or None,
            aligner=self.aligner,
            encode_text=self.space,
            shifts=self.shifts,
            gap=gap,
            labels=labels,
        )

    def with_feature(
        self, config: MethodConfig, words: Mapping[str, Sequence[str]], batches: Iterable[Tensor]
    ) -> TracedModel:
        """Explain the components of a feature alone, which texts choose.

        Args:
            config: the feature, and how many components.
            words: of each feature.
            batches: images that the choice is made on.
        """
        from vitdecomp.score import FeatureScorer

        assert self.space is not None
        assert config.feature is not None
        parts = (self.decomposer.transform(images, "head") for images in batches)
        aligner = self.aligner
        c = Contributions.joined([part if aligner is None else aligner.transform(part) for part in parts])
        check_top(config.top, c.components)
        texts = {feature: self.space.encode_text(list(some)).cpu() for feature, some in words.items()}
        scorer = FeatureScorer(center="feature", bootstrap=0, shuffles=0).fit(c, texts)
        chosen = tuple(component.name for component in scorer.top(config.feature, k=config.top))
        return replace(self, components=chosen)
