"""Readout: the texts whose similarity with images can best be read from a component."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from vitdecomp._utils.estimator import Estimator
from vitdecomp._utils.progress import Progress
from vitdecomp._utils.tolerance import check_varies
from vitdecomp.component import Component
from vitdecomp.errors import InputError, SpecError
from vitdecomp.sources.source import Columns, Source
from vitdecomp_alignment.readout.moments import Folds, coordinates, quadratic, residuals

Self = TypeVar("Self", bound="Readout")
SURE = 2  # standard errors
LEAST = 0.1  # share of a text's variance that earlier texts must have left


@dataclass(frozen=True, slots=True)
class Reading:
    """Tell what can be read from one component.

    Attributes:
        indices: of the texts, the best first. scores: held-out R^2 of each, after what the texts before it say.
        errors: standard error of each over the folds.
        control: the best R^2 of any text when images are shuffled, the largest of all shuffles.
        named: whether the first text is read better than any text of shuffled images, by two standard errors.
    """

    indices: tuple[int, ...]
    scores: tuple[float, ...]
    errors: tuple[float, ...]
    control: float
    named: bool


class Readout(Estimator):
    """For every component the texts whose similarity with the images is best predicted from it.

    For a component c and a text t, a ridge regression predicts s_t = cos(z, t), with z CLIP's vector of an image, from
    c on some folds of the images, and R^2 = 1 - sum (s_t - s^_t)^2 / sum (s_t - mean s_t)^2 on those that are held out.
    Since s_t is linear in z / |z|, one regression of z / |z| serves all texts:
    R^2(t) = 1 - t^T E t / t^T S t, with the held-out second moments E of its residuals and S of z / |z|. A further
    text is judged by what is left when the earlier ones are regressed out of every similarity. A name says what can
    be read from a component, where `TextSpan` says along what it varies.

    Args:
        m: texts for each component.
        strength: of the ridge, as a multiple of the mean square of a coordinate of the component.
        folds: of the images. shuffles: of the images, for the control.
        random_state: deals out folds and shuffles.
        chunk: texts that are scored at a time.

    Attributes:
        components_: the component axis.
        readings_: what can be read from each.
        labels_: texts of each component.
        scores_: their R^2.
        named_: whether a component's first text beats the control, `(component,)`.
    """

    components_: tuple[Component, ...]
    readings_: tuple[Reading, ...]
    labels_: tuple[tuple[str, ...], ...]
    scores_: tuple[tuple[float, ...], ...]
    named_: tuple[bool, ...]

    def __init__(
        self,
        *,
        m: int = 1,
        strength: float = 0.1,
        folds: int = 5,
        shuffles: int = 3,
        random_state: int = 0,
        chunk: int = 4096,
    ) -> None:
        self.m, self.strength, self.folds, self.shuffles = m, strength, folds, shuffles
        self.random_state, self.chunk = random_state, chunk

    def fit(
        self: Self,
        c: Source,
        clip_embeddings: Float[Tensor, "n e"],
        text_embeddings: Float[Tensor, "t e"],
        texts: Sequence[str],
        *,
        components: Sequence[Component] | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Choose the texts.

        Args:
            c: contributions to n images, in the model's own space. A `Store` is read one component at a time, in the
                coordinates that it keeps.
            clip_embeddings: CLIP's vectors of the same images; their norm does not count.
            text_embeddings: vectors of the texts; their norm does not count.
            texts: the words.
            components: those to name; by default all.
            progress: called with the components done and their number.

        Raises:
            InputError: shapes do not fit, there are fewer images than two a fold, or a value is not finite.
            SpecError: a setting is out of range.
        """
        self._check(c, clip_embeddings, text_embeddings, texts)
        targets, pool = (normalize(x.detach().double(), dim=1) for x in (clip_embeddings, text_embeddings))
        folds = Folds.of(targets, self.folds, self.random_state)
        controls = [folds.shuffled(self.random_state + 1 + k) for k in range(self.shuffles)]
        spread = quadratic(folds.total.sum(0), pool, self.chunk).clamp(min=1e-300)  # shuffled too, that of each text
        found = []
        columns = c if isinstance(c, Columns) else c.take(range(len(c)))
        chosen = c.components if components is None else tuple(components)
        for component in chosen:
            values = columns.coefficients(component, range(len(c))).detach()
            _check_finite(values, f"the contributions of {component.name}")
            found.append(self._read(values, folds, controls, pool, spread))
            if progress is not None:
                progress(len(found), len(chosen))
        self.components_, self.readings_ = chosen, tuple(found)
        self.labels_ = tuple(tuple(str(texts[i]) for i in one.indices) for one in found)
        self.scores_ = tuple(one.scores for one in found)
        self.named_ = tuple(one.named for one in found)
        return self

    def _read(self, values: Tensor, folds: Folds, controls: Sequence[Folds], pool: Tensor, spread: Tensor) -> Reading:
        c = coordinates(values)
        if not c.shape[1]:  # a constant
            return Reading((), (), (), 0.0, named=False)
        left = residuals(c, folds, self.strength)
        chosen = self._chosen(left, folds.total, pool, spread)
        shuffled = [self._best(residuals(c, one, self.strength), pool, spread) for one in controls]
        control = max(shuffled, default=0.0)
        indices, scores, errors = zip(*chosen, strict=True)
        named = scores[0] - SURE * errors[0] > max(control, 0.0)
        return Reading(indices, scores, errors, control, named=named)

    def _chosen(self, left: Tensor, total: Tensor, pool: Tensor, spread: Tensor) -> list[tuple[int, float, float]]:
        """Choose texts one by one, each after what those before it say."""
        found: list[tuple[int, float, float]] = []
        moment = total.sum(0)
        rest = torch.eye(pool.shape[1], dtype=pool.dtype)  # texts to what earlier ones leave of them
        while len(found) < min(self.m, len(pool)):
            own = pool @ rest.T
            variance = quadratic(moment, own, self.chunk) if found else spread
            gain = (variance - quadratic(left.sum(0), own, self.chunk)) / spread
            gain[variance <= LEAST * spread] = float("-inf")
            best = int(gain.argmax())
            if gain[best] == float("-inf"):
                break
            text = own[best]
            residual, whole = (torch.einsum("e,fed,d->f", text, each, text) for each in (left, total))
            error = (1 - residual / whole.clamp(min=1e-300)).std() / len(whole) ** 0.5
            found.append((best, 1 - float(residual.sum() / whole.sum()), float(error)))
            weights = moment @ text / (text @ moment @ text)  # of the similarity with it, in that with any other
            rest = rest - torch.outer(text, weights) @ rest
        return found

    def _best(self, left: Tensor, pool: Tensor, spread: Tensor) -> float:
        return float((1 - quadratic(left.sum(0), pool, self.chunk) / spread).max())

    def _check(self, c: Source, clip: Tensor, pool: Tensor, texts: Sequence[str]) -> None:
        for name in ("m", "folds", "chunk"):
            if getattr(self, name) < (2 if name == "folds" else 1):
                raise SpecError(f"{name} must be {2 if name == 'folds' else 1} or more, not {getattr(self, name)}")
        if not self.strength > 0 or self.shuffles < 0:
            raise SpecError(f"strength must be positive and shuffles 0 or more, not {self.strength}, {self.shuffles}")
        if clip.ndim != 2 or pool.ndim != 2 or len(clip) != len(c) or clip.shape[1] != pool.shape[1]:
            raise InputError(
                f"{len(c)} images need CLIP's vectors ({len(c)}, e) and texts (t, e), not {tuple(clip.shape)} and "
                f"{tuple(pool.shape)}"
            )
        if len(pool) != len(texts) or not len(pool):
            raise InputError(f"there must be one vector for each text: {len(pool)} vectors, {len(texts)} texts")
        if len(c) < 2 * self.folds:
            raise InputError(f"{self.folds} folds need {2 * self.folds} images or more, not {len(c)}")
        _check_finite(clip, "CLIP's vectors")
        _check_finite(pool, "the texts' vectors")
        check_varies(float((clip - clip.mean(0)).norm()), float(clip.norm()), clip.dtype, "CLIP's vectors")


def _check_finite(values: Tensor, what: str) -> None:
    if not bool(values.isfinite().all()):
        raise InputError(f"{what} hold NaN or infinity")
