"""FeatureScorer: which components carry which feature, told by the texts of the features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

import numpy as np
from jaxtyping import Float, Float64
from torch import Tensor

from vitdecomp._utils.deprecated import renamed
from vitdecomp._utils.estimator import Estimator
from vitdecomp._utils.progress import Progress
from vitdecomp._utils.registry import did_you_mean
from vitdecomp.component import Component
from vitdecomp.errors import InputError, SpecError
from vitdecomp.score.bootstrap import Bootstrap
from vitdecomp.score.chance import against_chance
from vitdecomp.score.choice import WAYS, Choice, check_way, margins
from vitdecomp.score.directions import CENTERS, Directions, check_choice, check_texts
from vitdecomp.score.measures import MEASURES, NORMALIZATIONS, Score
from vitdecomp.score.reading import read
from vitdecomp.sources.source import Source

Self = TypeVar("Self", bound="FeatureScorer")


class FeatureScorer(Estimator):
    """How much every component carries of every feature, by the texts of the features.

    A feature's texts become orthonormal directions b, by Gram and Schmidt in the order of the texts. The score of
    component i is the mean over b of the correlation, over images, of b c_i with b r, where r = sum_i c_i (section 3.2
    of Balasubramanian et al., arXiv 2406.01583). It is between -1 and 1. A component is a part of the total that it is
    compared with, so one that has nothing to do with the others scores as much as its share of the spread, not 0.
    Constants, and what varies by rounding alone, score 0 and are never chosen.

    Args:
        center: what is taken from texts first: `none`; `feature`, the mean of the feature's texts, so that only their
            differences count; `pool`, the mean of all texts.
        measure: `mean` of the directions' correlations; `pooled`, the correlation over all directions at once, which
            does not depend on the order of the texts; or `share`, the part of the total's variance along them that a
            component is, which adds up over components and over their units.
        normalization: `consistent`, or `published`: covariances by 1/n with deviations by 1/(n - 1), as the paper's
            code has it, which is (n - 1)/n times as much.
        bootstrap: replicates for the intervals; 0 for none. confidence: what share of them lies in an interval.
        shuffles: how often texts are dealt out at random for the test against chance; 0 for none.
        sample: images, half of all at most, of which coordinates are kept to choose components by.
        batch_size: images read at a time. random_state: of the weights, the shuffles and the sample.

    Attributes:
        features_: names. components_: the component axis.
        scores_: `(feature, component)`.
        interval_: lower and upper end by the bootstrap over images, `(feature, component, 2)`.
        chance_: the mean score of texts that are dealt out to the features at random.
        p_value_: how often they score no lower: whether a component carries this feature more than any texts of the
            pool. For one pair at a time; NaN if there are no other texts.
        choice_: what `top` chooses from.
    """

    features_: tuple[str, ...]
    components_: tuple[Component, ...]
    scores_: Float64[np.ndarray, "feature component"]
    interval_: Float64[np.ndarray, "feature component 2"]
    chance_: Float64[np.ndarray, "feature component"]
    p_value_: Float64[np.ndarray, "feature component"]
    choice_: Choice

    @renamed(centre="center")
    def __init__(  # noqa: PLR0913 - one parameter per setting
        self,
        *,
        center: str = "none",
        measure: str = "mean",
        normalization: str = "consistent",
        bootstrap: int = 200,
        confidence: float = 0.95,
        shuffles: int = 200,
        sample: int = 512,
        batch_size: int = 64,
        random_state: int = 0,
    ) -> None:
        self.center, self.measure, self.normalization = center, measure, normalization
        self.bootstrap, self.confidence, self.shuffles = bootstrap, confidence, shuffles
        self.sample, self.batch_size, self.random_state = sample, batch_size, random_state

    def fit(
        self: Self,
        source: Source,
        texts: Mapping[str, Float[Tensor, "_ d"]],
        *,
        controls: Float[Tensor, "m d"] | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Score all components in one pass over the images.

        For C components and texts that span r dimensions, the sums take 32 C r^2 bytes, however many images there are.

        Args:
            source: contributions in the space of the texts, in memory, on disk or aligned as they are read.
            texts: vectors of each feature's texts, `(t, d)`.
            controls: texts of no feature, which the test against chance deals out too.
            progress: called with the images done and their number.

        Raises:
            InputError: texts that do not fit, fewer than two images, images that are all alike, or NaN.
            SpecError: a setting that means nothing.
        """
        self.check()
        check_texts(texts, source.dimension)
        if controls is not None:
            check_texts({"controls": controls}, source.dimension)
        directions = Directions.of(texts, controls, self.center)
        bases = tuple(directions.bases().values())
        sizes = [len(rows) for rows in bases]
        found = read(
            source,
            directions,
            Bootstrap(self.bootstrap, len(source.components), sum(sizes), seed=self.random_state),
            sample=self.sample,
            batch_size=self.batch_size,
            seed=self.random_state,
            progress=progress,
        )
        found.everything.check_varies(source.take(range(1)).values.dtype)
        varying = found.everything.varies().numpy() & [not c.is_constant for c in source.components]
        score = Score(self.measure, NORMALIZATIONS[self.normalization](len(source)), varying)
        self.features_, self.components_ = tuple(texts), source.components
        self.scores_, outside = (
            np.stack([score.of(s, rows) for rows in bases]) for s in (found.everything, found.outside)
        )
        self.interval_ = found.bootstrap.intervals(score, sizes, self.confidence)
        self.chance_, self.p_value_ = against_chance(
            self.scores_,
            score,
            found.everything,
            directions=directions,
            shuffles=self.shuffles,
            seed=self.random_state,
        )
        able = tuple(np.flatnonzero(varying).tolist())
        self.choice_ = Choice(self.scores_, outside, found.sample, bases, able)
        return self

    def check(self) -> None:
        """Raise `SpecError` for a setting that means nothing."""
        for noun, known in (("center", CENTERS), ("measure", MEASURES), ("normalization", NORMALIZATIONS)):
            check_choice(noun, getattr(self, noun), known)
        for noun, least in (("bootstrap", 0), ("shuffles", 0), ("sample", 1), ("batch_size", 1)):
            if getattr(self, noun) < least:
                raise SpecError(f"{noun} must be {least} or more, not {getattr(self, noun)}")
        if not 0 < self.confidence < 1:
            raise SpecError(f"confidence must be between 0 and 1, not {self.confidence}")

    @property
    def margins_(self) -> Float64[np.ndarray, "feature component"]:
        """By how much every score is higher than the component's best for another feature; else the scores."""
        return margins(self._fitted().scores)

    def to_dataframe(self, library: str = "pandas", *, features: Sequence[str] | None = None) -> Any:
        """Set out scores as a data frame, one row for each feature and component, the highest score of a feature first.

        Columns: `feature`, `rank` (1 for the highest score), `component`, the key's own fields (`kind`, `block`,
        `module`, `head`, `token`, `neuron`), `score`, `low` and `high` (the ends of its interval), `margin`, `chance`
        and `p_value`. What was not measured is NaN.

        Args:
            library: `pandas`, `polars` or `pyarrow`.
            features: their names; default: all.

        Raises:
            SpecError: no such feature, not fitted yet, or the library is not installed.
        """
        from vitdecomp.score.table import score_table
        from vitdecomp.tables.frames import to_frame

        self._fitted()
        return to_frame(score_table(self, self.features_ if features is None else features), library)

    def ranking(self, feature: str) -> tuple[Component, ...]:
        """Return all components, the one with the highest score first; those that do not vary come last.

        Raises:
            SpecError: no such feature, or not fitted yet.
        """
        return self._sorted(self.scores_[self._place(feature)])

    def contrast(self, spurious: str, core: str) -> tuple[Component, ...]:
        """Order all components by score(spurious) - score(core), the largest first; those that do not vary last.

        Raises:
            SpecError: no such feature, or not fitted yet.
        """
        return self._sorted(self.scores_[self._place(spurious)] - self.scores_[self._place(core)])

    def top(self, feature: str, k: int | Literal["auto"] = 8, *, by: str = "margin") -> tuple[Component, ...]:
        """Return the components that stand for a feature.

        Args:
            feature: its name.
            k: how many; `"auto"` takes as few as agree with the total in the feature, on images that did not choose
                them, as well as any number does (`vitdecomp.score.agreement`).
            by: `margin`, by how much the score is higher than for any other feature (2406.01583); or `agreement`, one
                after another, whichever makes their sum agree most.

        Raises:
            SpecError: no such feature or way of choosing, or not fitted yet.
            InputError: k is not between 1 and the number of components that vary.
        """
        place = self._place(feature)
        check_way(by)
        able = len(self.choice_.able)
        if k != "auto" and not 1 <= k <= able:
            raise InputError(
                f"k = {k!r} components of {feature!r}, but there are {able} that vary: give 1 to {able}, or 'auto'"
            )
        if not able:
            raise InputError("no component varies: there is nothing to choose")
        chosen = WAYS[by](self.choice_, place, None if k == "auto" else k)
        return tuple(self.components_[i] for i in chosen)

    def _place(self, feature: str) -> int:
        self._fitted()
        if feature not in self.features_:
            raise SpecError(f"no feature {feature!r}{did_you_mean(str(feature), self.features_)}")
        return self.features_.index(feature)

    def _sorted(self, values: Float64[np.ndarray, " component"]) -> tuple[Component, ...]:
        still = np.ones(len(values), dtype=bool)
        still[list(self.choice_.able)] = False
        return tuple(self.components_[i] for i in np.lexsort((-values, still)))

    def _fitted(self) -> Choice:
        if not hasattr(self, "choice_"):
            raise SpecError("this FeatureScorer is not fitted yet: call fit(contributions, texts) first")
        return self.choice_
