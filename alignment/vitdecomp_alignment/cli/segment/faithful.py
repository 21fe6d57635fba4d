"""How faithful the heatmaps of a batch are, by all measures and methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from jaxtyping import Float
from torch import Tensor

from vitdecomp._utils.registry import did_you_mean
from vitdecomp.decompose import Decomposer
from vitdecomp.errors import SpecError
from vitdecomp.heatmaps import Heatmaps
from vitdecomp.metrics import FAITHFULNESS, Perturbation, Randomization, Stability, randomized, spearman
from vitdecomp.metrics.faithfulness import Measure
from vitdecomp_alignment.cli.heatmaps.methods import Methods
from vitdecomp_alignment.cli.heatmaps.traced import TracedModel
from vitdecomp_alignment.cli.segment.asked import AskedBatch

RANDOMIZATION, STABILITY = "randomization", "stability"
HIGHER_IS_BETTER: Mapping[str, bool] = {
    **{name: measure.higher_is_better for name, measure in FAITHFULNESS.items()},
    RANDOMIZATION: Randomization.higher_is_better,
    STABILITY: Stability.higher_is_better,
}


def chosen_measures(names: Sequence[str], every: bool) -> tuple[str, ...]:
    """Return the measures that the user named, in their own order; all if every one was asked for.

    Raises:
        SpecError: no such measure.
    """
    for name in names:
        if name not in HIGHER_IS_BETTER:
            raise SpecError(f"no measure {name!r}{did_you_mean(name, list(HIGHER_IS_BETTER))}")
    return tuple(name for name in HIGHER_IS_BETTER if name in names or (every and not names))


@dataclass(frozen=True, slots=True)
class Faithfulness:
    """Measures of a traced model.

    Attributes:
        traced: the model. methods: with their settings. names: of the measures.
        fill: a black pixel, for each channel. batch_size: images that are scored at once. seed: of all draws.
        twin: the model with random weights, if it is needed.
    """

    traced: TracedModel
    methods: Methods
    names: tuple[str, ...]
    fill: tuple[float, ...]
    batch_size: int
    seed: int
    twin: TracedModel | None

    @classmethod
    def of(
        cls,
        traced: TracedModel,
        methods: Methods,
        names: tuple[str, ...],
        image: Tensor,
        *,
        fill: tuple[float, ...],
        batch_size: int,
        seed: int,
    ) -> Faithfulness:
        """Prepare the measures, and trace a model with random weights if one needs it."""
        twin = _twin(traced, image, seed) if RANDOMIZATION in names else None
        return cls(traced, methods, names, fill, batch_size, seed, twin)

    def __call__(self, asked: AskedBatch, maps: Mapping[str, Heatmaps]) -> dict[str, dict[str, Float[Tensor, " n"]]]:
        """Measure the maps of a batch: for each method and measure one number for each image."""
        random = {} if self.twin is None else self.twin.maps(asked.images, asked.directions(), self.methods)
        found: dict[str, dict[str, Tensor]] = {method: {} for method in maps}
        for method, own in maps.items():
            values = own.values[:, 0]
            for name in self.names:
                if name == RANDOMIZATION:
                    found[method][name] = spearman(values, random[method].values[:, 0])
                elif name == STABILITY:
                    found[method][name] = self._stability(asked, method)
                else:
                    found[method][name] = self._measure(name)(asked.score, asked.images, values)
        return found

    def _measure(self, name: str) -> Measure:
        """Return a measure of given maps with the settings of this run."""
        measure: Measure = replace(FAITHFULNESS[name], batch_size=self.batch_size, seed=self.seed)  # type: ignore[type-var]
        return replace(measure, fill=self.fill) if isinstance(measure, Perturbation) else measure

    def _stability(self, asked: AskedBatch, method: str) -> Float[Tensor, " n"]:
        def explain(images: Tensor, rows: Tensor) -> Tensor:
            maps = self.traced.maps(images, asked.directions(rows), {method: self.methods[method]})
            return maps[method].values[:, 0]

        return Stability(batch_size=self.batch_size, seed=self.seed)(explain, asked.predict, asked.images)


def _twin(traced: TracedModel, image: Tensor, seed: int) -> TracedModel:
    """Trace the model with random weights; what is asked of it are the true model's directions."""
    known = traced.decomposer
    loaded = replace(known.loaded_, module=randomized(known.loaded_.module, seed))
    return replace(traced, decomposer=Decomposer(loaded, output=known.output, through=known.through).fit(image))
