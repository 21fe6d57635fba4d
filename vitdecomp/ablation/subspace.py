"""The part of a contribution that some directions see."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp.component import Component
from vitdecomp.errors import InputError, SpecError

TINY = 1e-6  # relative length below which a direction is rounding


@runtime_checkable
class Maps(Protocol):
    """An aligner with one linear map for each component: a contribution c becomes c W."""

    @property
    def components_(self) -> tuple[Component, ...]:
        """The component axis."""
        ...

    @property
    def weights_(self) -> Float[Tensor, "component d d_clip"]:
        """The maps."""
        ...


def find_bases(
    directions: Float[Tensor, "t _"], components: tuple[Component, ...], dimension: int, aligner: object = None
) -> Float[Tensor, "k d r"]:
    """Orthonormal columns that span, for each component, what the directions see of its contributions.

    In the space of the contributions these are the directions themselves, the same for all components. In another
    model's space, reached by c W, a direction q sees <c W, q> = <c, W q>: it is pulled back to W q. A component that
    needs fewer columns than others has columns of zeros.

    Raises:
        InputError: directions of another dimension, none, zero or not finite; an aligner without these components.
        SpecError: an aligner without linear maps.
    """
    d = dimension
    maps = None
    if aligner is not None:
        maps = _maps_of(aligner, components)
        d = maps.shape[2]
    if directions.ndim != 2 or directions.shape[1] != d or not len(directions):
        raise InputError(f"directions must be (t, {d}), not {tuple(directions.shape)}")
    if not bool(directions.isfinite().all()) or not bool(directions.any()):
        raise InputError("directions must be finite, and not all zero")
    seen = directions.detach().double().cpu()
    if maps is None:
        return _orthonormal(seen.T[None]).expand(len(components), -1, -1)
    return _orthonormal(maps.detach().double().cpu() @ seen.T)


def _maps_of(aligner: object, components: tuple[Component, ...]) -> Tensor:
    if not isinstance(aligner, Maps):
        raise SpecError(f"{type(aligner).__name__} has no linear map for each component (weights_)")
    place = {component: i for i, component in enumerate(aligner.components_)}
    missing = [c.name for c in components if c not in place]
    if missing:
        raise InputError(f"the aligner was not fitted to {missing[0]}")
    return aligner.weights_[[place[c] for c in components]]


def _orthonormal(columns: Float[Tensor, "k d t"]) -> Float[Tensor, "k d r"]:
    """Orthonormal bases of the columns' spans; what the columns do not span is left zero."""
    left, lengths, _ = torch.linalg.svd(columns, full_matrices=False)
    kept = lengths > TINY * lengths[:, :1].clamp_min(torch.finfo(lengths.dtype).tiny)
    bases: Tensor = left * kept[:, None]
    return bases[:, :, : int(kept.sum(1).max())]
