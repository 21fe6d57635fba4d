"""LinearAlign: one map for all components, the baseline of CompAlign."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from vitdecomp._utils.progress import Clock, Progress
from vitdecomp.component import WHOLE, Component
from vitdecomp.contributions import Contributions
from vitdecomp.distributed.process_group import Ranks
from vitdecomp.sources.aligner import register_aligner
from vitdecomp.sources.source import Source
from vitdecomp.sources.wrapped import WrappedSource
from vitdecomp_alignment.aligners.compalign import CompAlign
from vitdecomp_alignment.aligners.linear import LinearAligner
from vitdecomp_alignment.aligners.maps import LinearMaps

Self = TypeVar("Self", bound="LinearAlign")


@register_aligner("linear")
class LinearAlign(LinearAligner):
    """The one map W that minimises mean(1 - cos(sum_i c_i W, z)), used for every component (arXiv 2406.01583, Table 1).

    The arguments are those of `CompAlign`.

    Attributes:
        history_: as that of `CompAlign`.
    """

    history_: list[dict[str, float]]

    def __init__(  # noqa: PLR0913 - one for each setting, as scikit-learn's estimators have them
        self,
        *,
        orthogonality: float = 0.0,
        penalty: str = "frobenius",
        bias: bool = False,
        init: str = "closed_form",
        learning_rate: float = 3e-4,
        weight_decay: float = 1e-6,
        batch_size: int = 32,
        epochs: int = 10,
        validation_fraction: float = 0.1,
        patience: int = 20,
        shuffle: bool = True,
        random_state: int = 0,
    ) -> None:
        self.orthogonality, self.penalty, self.bias, self.init = orthogonality, penalty, bias, init
        self.learning_rate, self.weight_decay, self.batch_size = learning_rate, weight_decay, batch_size
        self.epochs, self.validation_fraction, self.patience = epochs, validation_fraction, patience
        self.shuffle, self.random_state = shuffle, random_state

    def fit(
        self: Self,
        source: Source,
        target: Tensor,
        *,
        checkpoint: Path | str | None = None,
        progress: Progress | None = None,
        clock: Clock | None = None,
        ranks: Ranks | None = None,
    ) -> Self:
        """Train the map; arguments and errors are those of `CompAlign.fit`."""
        one = CompAlign(**self.get_params()).fit(
            Summed(source), target, checkpoint=checkpoint, progress=progress, clock=clock, ranks=ranks
        )
        shared = one.weights_[0]
        self.maps_ = LinearMaps(source.components, shared, bias=one.maps_.bias)
        self.history_, self.metrics_, self.fingerprint_ = one.history_, one.metrics_, source.fingerprint()
        self.origin_ = one.origin_
        return self


@dataclass(frozen=True, slots=True)
class Summed(WrappedSource):
    """Contributions summed to one component, the representation."""

    @property
    def components(self) -> tuple[Component, ...]:
        """The one component."""
        return (WHOLE,)

    def settings(self) -> object:
        """Return the name of the sum."""
        return "sum"

    def take(self, rows: Sequence[int]) -> Contributions:
        """Take the representations of some images."""
        c = self.source.take(rows)
        return replace(c, values=c.values.sum(1, keepdim=True), components=(WHOLE,), bias_receivers={})
