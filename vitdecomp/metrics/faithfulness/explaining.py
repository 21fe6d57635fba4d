"""Maps that a measure asks for itself, of changed images or changed models."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vitdecomp.errors import InputError
from vitdecomp.metrics.faithfulness.scoring import batches

Explain: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""`explain(images, rows)`: signed maps `(m, h, w)` of images `(m, c, h, w)`, of which number j was made from the image
`rows[j]` of those that the measure was given, `(m,)`; so it can explain the same class. It may use gradients."""


def explained(
    explain: Explain, images: Float[Tensor, "m c h w"], rows: Int64[Tensor, " m"]
) -> Float[Tensor, "m _h _w"]:
    """Make the maps of one batch: without history, in single precision at least.

    Raises:
        InputError: not one map for each image, NaN or infinity.
    """
    maps = explain(images, rows).detach()
    if maps.ndim != 3 or len(maps) != len(rows) or not maps.is_floating_point():
        raise InputError(
            f"the maps of {len(rows)} images are {tuple(maps.shape)} in {maps.dtype}: give (m, h, w) in floating point"
        )
    if not bool(maps.isfinite().all()):
        raise InputError(f"maps: NaN or infinity among those of images {rows.tolist()}")
    return maps.to(images.device, torch.promote_types(maps.dtype, torch.float32))


def explained_in_batches(
    explain: Explain, images: Float[Tensor, "n c h w"], batch_size: int
) -> Float[Tensor, "n _h _w"]:
    """Make the maps of all images.

    Raises:
        InputError: not one map for each image, NaN or infinity.
    """
    parts = batches(len(images), batch_size, images.device)
    return torch.cat([explained(explain, images[rows], rows) for rows in parts])
