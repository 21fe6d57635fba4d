"""Decompose images: record a run, push the components, and compare their sum with the representation."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp._utils.tolerance import relative_error
from vitdecomp.engine.ahead import NOTHING, Ahead
from vitdecomp.engine.component_set import ComponentSet
from vitdecomp.engine.exactness import locate_error
from vitdecomp.errors import InexactError, InputError
from vitdecomp.trace.paths import LinearPaths


def decompose(
    paths: LinearPaths, component_set: ComponentSet, images: Tensor, allowed: float, ahead: Ahead = NOTHING
) -> tuple[Float[Tensor, "n component d"], Float[Tensor, " n"]]:
    """Compute the contributions of all components to the representation of each image.

    Args:
        paths: the linear paths of the model.
        component_set: its components.
        images: n images, as the model takes them.
        allowed: largest relative error of the sum.
        ahead: constants that have been pushed a part of their way, with the same weights.

    Returns:
        Contributions `(n, component, d)`, and the relative error of their sum, `(n,)`.

    Raises:
        InputError: the model returns NaN or infinity, or the result is larger than the memory that is free.
        InexactError: the sum misses the representation by more than is allowed.
    """
    chunks = paths.recorder.portions(images)
    total = sum(map(len, chunks))  # the last one may be filled up
    component_set.check_room(total, images)
    values: Tensor | None = None
    done, errors = 0, []
    for chunk in chunks:
        representation, recorded = paths.recorder(chunk)
        if not bool(representation.isfinite().all()):
            raise InputError(f"the model returns NaN or infinity for these images, in {representation.dtype}")
        if values is None:
            values = representation.new_zeros((total, len(component_set.components), representation.shape[1]))
        part = values[done : done + len(chunk)]
        done += len(chunk)
        with torch.no_grad():
            component_set.pushed(recorded, len(chunk), representation, into=part, ahead=ahead)
        del recorded  # room for the next
        error = relative_error(part.sum(1), representation)
        if not bool((error <= allowed).all()):
            raise InexactError(_explain(paths, chunk, error, allowed))
        errors.append(error)
    assert values is not None  # there is an image
    return values[: len(images)], torch.cat(errors)[: len(images)]


def _explain(paths: LinearPaths, images: Tensor, error: Tensor, allowed: float) -> str:
    return (
        f"contributions miss the representation by {float(error.max()):.1e} (allowed {allowed:.0e}): "
        f"{locate_error(paths, images, allowed)}. Use float64, or pass a larger tolerance= if that is good enough"
    )
