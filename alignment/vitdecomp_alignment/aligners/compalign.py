"""CompAlign: one map for each component, trained to keep lengths and angles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from vitdecomp._utils.checksum import digest
from vitdecomp._utils.progress import Clock, Progress
from vitdecomp._utils.registry import did_you_mean
from vitdecomp.distributed.process_group import Ranks
from vitdecomp.errors import SpecError
from vitdecomp.sources.aligner import register_aligner
from vitdecomp.sources.source import Source
from vitdecomp_alignment.aligners.basis_change import BasisChanges
from vitdecomp_alignment.aligners.checkpoint import Checkpoint
from vitdecomp_alignment.aligners.closed_form import ClosedForm
from vitdecomp_alignment.aligners.coefficients import Coefficients
from vitdecomp_alignment.aligners.examples import BatchOrder, Examples
from vitdecomp_alignment.aligners.linear import LinearAligner, check_seed, check_target
from vitdecomp_alignment.aligners.loss import MapsModule
from vitdecomp_alignment.aligners.maps import LinearMaps, Span
from vitdecomp_alignment.aligners.penalty import deviation, penalty
from vitdecomp_alignment.aligners.spans import broadcast_spans, whole_space
from vitdecomp_alignment.aligners.training import Schedule, Training

SPREAD = 0.02  # of random maps at the beginning, as in the paper's public code
Self = TypeVar("Self", bound="CompAlign")


@register_aligner("compalign")
class CompAlign(LinearAligner):
    """Maps W_i that minimise mean(1 - cos(sum_i c_i W_i, z)) + a penalty (arXiv 2406.01583, section 3.2).

    The defaults keep the paper's loss and begin at the closed form. The paper's own schedule is
    `CompAlign(init="random", coordinates="full", epochs=1, validation_fraction=0.0)`.

    Args:
        orthogonality: weight of the penalty, or `"hard"` to keep all maps orthogonal by construction.
        penalty: `"frobenius"`, as the paper has it, or `"mean_square"`, as its public code has it (with weight 1).
        bias: learn one vector that is added to the sum, too; constants among the components do as much.
        init: `"closed_form"`, `"random"` or maps to begin with.
        coordinates: `"own"`: maps of the subspaces that the components span; `"full"`: of the whole space.
        learning_rate: of Adam.
        weight_decay: of Adam.
        batch_size: images in a step.
        epochs: at most.
        validation_fraction: of the images, held out for early stopping; with 0 there is none.
        patience: evaluations (ten in an epoch) without a better smoothed validation loss before training stops.
        shuffle: take the images in another order in every epoch.
        random_state: of all that is random.

    Attributes:
        history_: for each evaluation the step, the training loss since the one before, the distance and the loss on
            the images held out, and the mean of the latter over the last five.
    """

    history_: list[dict[str, float]]

    def __init__(  # noqa: PLR0913 - one for each setting, as scikit-learn's estimators have them
        self,
        *,
        orthogonality: float | str = 1 / 768,
        penalty: str = "frobenius",
        bias: bool = False,
        init: str | LinearMaps = "closed_form",
        coordinates: str = "own",
        learning_rate: float = 3e-4,
        weight_decay: float = 1e-6,
        batch_size: int = 32,
        epochs: int = 10,
        validation_fraction: float = 0.1,
        patience: int = 20,
        shuffle: bool = True,
        random_state: int = 0,
    ) -> None:
        self.orthogonality, self.penalty, self.bias = orthogonality, penalty, bias
        self.init, self.coordinates = init, coordinates
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
        """Train the maps.

        Args:
            source: contributions in memory or on disk.
            target: the other model's vectors of the same images, `(n, d_clip)`.
            checkpoint: a file that is written while training lasts, and from which it goes on after a kill.
            progress: called with the steps done and their number.
            clock: shows every part of the work, and knows afterwards how long each took.
            ranks: processes that share every batch, each of which calls this with the same arguments, and learns the
                same. `batch_size` is that of all together, so that one process learns the same but for rounding.

        Raises:
            RankError: another process is gone; what the checkpoint holds can be gone on with.
            InputError: not of the same images, or too few.
            SpecError: a setting that means nothing.
            OutputError: the checkpoint cannot be written, or is of another training.
        """
        check_target(source, target)
        self._check()
        clock, ranks = clock or Clock(), ranks or Ranks()
        with clock("checksum"):
            self.fingerprint_, self.origin_ = source.fingerprint(), source.take(range(1)).origin
            identity = self._identity(self.fingerprint_, target)
        saved = None if checkpoint is None else Checkpoint(Path(checkpoint), identity)
        kept = Coefficients(source)
        if kept.fit_in_memory:
            with clock("reading") as shown:
                kept.hold(shown)
        order = BatchOrder(self.batch_size, self.validation_fraction, self.shuffle, self.random_state)
        learned, _ = order.split(len(kept))
        start, hard = self._start(kept, target, learned, clock, ranks), self.orthogonality == "hard"
        weight = None if isinstance(self.orthogonality, str) else self.orthogonality
        module = MapsModule(_orthogonalised(start) if hard else start, penalty(self.penalty), weight)
        examples = Examples(kept, BasisChanges(kept, start.spans), target, order)
        training = Training(module, examples, self._schedule(), saved, ranks)
        with clock("training") as shown:
            training.run(progress or shown)
            self.maps_, self.history_ = module.maps(), training.state.history
            self.metrics_ = self._measured(training)
        return self

    def _start(
        self, kept: Coefficients, target: Tensor, learned: Int64[np.ndarray, " _"], clock: Clock, ranks: Ranks
    ) -> LinearMaps:
        """Make the maps to begin with, a span for every component, from the targets of the images to learn from."""
        if isinstance(self.init, LinearMaps):
            return self.init
        bias = torch.zeros(target.shape[1], dtype=kept.dtype) if self.bias else None
        if self.init == "closed_form":
            fitted = ClosedForm(random_state=self.random_state).solved(kept, target, clock, ranks, learned=learned)
            if self.coordinates == "full":
                fitted = _in_full(fitted)
            return replace(fitted, bias=bias)
        with clock("spans"):
            full, seed = self.coordinates == "full", self.random_state
            spans = whole_space(kept) if full else broadcast_spans(kept, ranks, seed=seed)
        generator = torch.Generator().manual_seed(self.random_state)
        shared = torch.zeros(kept.dimension, target.shape[1], dtype=kept.dtype)
        spans = tuple(replace(s, basis=None if s.basis is None else s.basis.to(kept.dtype)) for s in spans)
        corrections = tuple(
            SPREAD * torch.randn(s.restrict(shared).shape, generator=generator, dtype=kept.dtype) for s in spans
        )
        return LinearMaps(kept.source.components, shared, spans, corrections, bias)

    def _schedule(self) -> Schedule:
        # A parametrized map keeps signs in its parameter, which a decay would turn into zeros.
        decay = 0.0 if self.orthogonality == "hard" else self.weight_decay
        return Schedule(
            learning_rate=self.learning_rate,
            weight_decay=decay,
            epochs=self.epochs,
            patience=self.patience,
        )

    def _measured(self, training: Training) -> dict[str, float]:
        held_out = {"validation_distance": training.distance()} if len(training.examples.held_out) else {}
        return {
            "steps": float(training.state.step),
            "orthogonality": deviation(training.module.maps().within()),
            **held_out,
        }

    def _identity(self, fingerprint: str, target: Tensor) -> str:
        """Return what tells this training from any other."""
        given = [self.init.dense()] if isinstance(self.init, LinearMaps) else []
        parts = (part for tensor in (target, *given) for part in (f"{tuple(tensor.shape)}", tensor))
        return digest([f"{fingerprint} {self.settings()}", *parts])

    def _check(self) -> None:
        """Raise `SpecError` for settings that mean nothing."""
        check_seed(self.random_state)
        named = {"init": ("closed_form", "random"), "coordinates": ("own", "full")}
        for key, known in named.items():
            value = getattr(self, key)
            if isinstance(value, str) and value not in known:
                raise SpecError(f"no {key} {value!r}{did_you_mean(value, known)}")
        penalty(self.penalty)
        weight = 0.0 if self.orthogonality == "hard" else self.orthogonality
        if isinstance(weight, str) or weight < 0:
            raise SpecError(f"orthogonality must be a weight of 0 or more, or 'hard', not {self.orthogonality!r}")
        if self.batch_size < 1 or self.epochs < 1 or self.patience < 1:
            raise SpecError("batch_size, epochs and patience must be 1 or more")
        if not 0 <= self.validation_fraction < 1:
            raise SpecError(f"validation_fraction must be from 0 to below 1, not {self.validation_fraction}")


def _in_full(maps: LinearMaps) -> LinearMaps:
    """Return the same maps in the coordinates of the representation."""
    rows = torch.arange(len(maps.components))
    return replace(maps, shared=torch.zeros_like(maps.shared), spans=(Span(rows),), corrections=(maps.dense(),))


def _orthogonalised(maps: LinearMaps) -> LinearMaps:
    """Return the nearest orthogonal map in every component's own coordinates."""
    corrections = []
    for span, weight in zip(maps.spans, maps.within(), strict=True):
        u, _, vh = torch.linalg.svd(weight, full_matrices=False)
        corrections.append(u @ vh - span.restrict(maps.shared))
    return replace(maps, corrections=tuple(corrections))
