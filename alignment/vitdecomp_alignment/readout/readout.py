"""Readout: the texts whose similarity with images can best be read from a component."""

from __future__ import annotations

from collections.abc import Sequence
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
from vitdecomp_alignment.readout.moments import Coordinates, Folds, regression, residuals
from vitdecomp_alignment.readout.pool import TextPool
from vitdecomp_alignment.readout.reading import Reading
from vitdecomp_alignment.readout.roles import Role, role, votes

Self = TypeVar("Self", bound="Readout")
SURE = 2  # standard errors


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
        roles_: the role of each component, `None` for a constant; empty where `fit` is not told what texts speak of.
    """

    components_: tuple[Component, ...]
    readings_: tuple[Reading, ...]
    labels_: tuple[tuple[str, ...], ...]
    scores_: tuple[tuple[float, ...], ...]
    named_: tuple[bool, ...]
    roles_: tuple[Role | None, ...]

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
        features: Sequence[str] | None = None,
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
            features: what each text speaks of, such as `"color"`. Then every component has a role, for which the best
                read texts vote, and its first text is one of this feature.
            components: those to name; by default all.
            progress: called with the components done and their number.

        Raises:
            InputError: shapes do not fit, there are fewer images than two a fold, or a value is not finite.
            SpecError: a setting is out of range.
        """
        self._check(c, clip_embeddings, text_embeddings, texts, features)
        targets, vectors = (normalize(x.detach().double(), dim=1) for x in (clip_embeddings, text_embeddings))
        folds = Folds.of(targets, self.folds, self.random_state)
        controls = [folds.shuffled(self.random_state + 1 + k) for k in range(self.shuffles)]
        pool = TextPool.of(vectors, folds.total, self.chunk, features)
        found = []
        columns = c if isinstance(c, Columns) else c.take(range(len(c)))
        chosen = c.components if components is None else tuple(components)
        for component in chosen:
            reading = self._read(_values(columns, component), folds, controls, pool, targets.mean(0))
            found.append(reading.through(columns.basis(component)))
            if progress is not None:
                progress(len(found), len(chosen))
        self.components_, self.readings_ = chosen, tuple(found)
        self.labels_ = tuple(tuple(str(texts[i]) for i in one.indices) for one in found)
        self.scores_ = tuple(one.scores for one in found)
        self.named_ = tuple(one.named for one in found)
        self.roles_ = () if features is None else tuple(one.role for one in found)
        return self

    def score(self, c: Source, clip_embeddings: Float[Tensor, "n e"]) -> tuple[tuple[float, ...], ...]:
        """Compute R^2 of the texts of every component on other images.

        Args:
            c: contributions of the same model to n images.
            clip_embeddings: CLIP's vectors of them.

        Returns:
            For each of `components_` what `scores_` holds for the images of `fit`.

        Raises:
            InputError: shapes do not fit. SpecError: not fitted yet.
        """
        if not hasattr(self, "readings_"):
            raise SpecError("this Readout is not fitted yet: call fit(...) first")
        if clip_embeddings.ndim != 2 or len(clip_embeddings) != len(c):
            raise InputError(f"{len(c)} images need CLIP's vectors ({len(c)}, e), not {tuple(clip_embeddings.shape)}")
        seen = normalize(clip_embeddings.detach().double(), dim=1)
        columns = c if isinstance(c, Columns) else c.take(range(len(c)))
        return tuple(
            reading.score(_values(columns, component), columns.basis(component), seen)
            for component, reading in zip(self.components_, self.readings_, strict=True)
        )

    def _read(self, values: Tensor, folds: Folds, controls: Sequence[Folds], pool: TextPool, mean: Tensor) -> Reading:
        c = Coordinates.of(values)
        if not c.values.shape[1]:  # a constant
            return Reading.nothing(values.shape[1], pool.vectors.shape[1])
        left = residuals(c.values, folds, self.strength)
        shares = votes(pool.r2(left), pool.features) if pool.features is not None else {}
        chosen = pool.choose(left, self.m, max(shares, key=shares.__getitem__, default=None))
        shuffled = [float(pool.r2(residuals(c.values, one, self.strength)).max()) for one in controls]
        control = max(shuffled, default=0.0)
        named = chosen[0].r2 - SURE * chosen[0].error > max(control, 0.0)
        texts = torch.stack([one.vector for one in chosen])
        weights = c.basis @ regression(c.values, folds.targets @ texts.T, self.strength)
        return Reading(
            tuple(one.index for one in chosen),
            tuple(one.r2 for one in chosen),
            tuple(one.error for one in chosen),
            control,
            named,
            weights,
            texts @ mean - c.mean @ weights,
            texts,
            role(shares, named=named) if shares else None,
        )

    def _check(
        self, c: Source, clip: Tensor, pool: Tensor, texts: Sequence[str], features: Sequence[str] | None
    ) -> None:
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
        if features is not None and len(features) != len(texts):
            raise InputError(f"there must be one feature for each text: {len(features)} features, {len(texts)} texts")
        if len(c) < 2 * self.folds:
            raise InputError(f"{self.folds} folds need {2 * self.folds} images or more, not {len(c)}")
        _check_finite(clip, "CLIP's vectors")
        _check_finite(pool, "the texts' vectors")
        check_varies(float((clip - clip.mean(0)).norm()), float(clip.norm()), clip.dtype, "CLIP's vectors")


def _check_finite(values: Tensor, what: str) -> None:
    if not bool(values.isfinite().all()):
        raise InputError(f"{what} hold NaN or infinity")


def _values(columns: Columns, component: Component) -> Float[Tensor, "n r"]:
    values = columns.coefficients(component, range(len(columns))).detach()
    _check_finite(values, f"the contributions of {component.name}")
    return values
