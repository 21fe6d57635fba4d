"""Heatmaps of a batch of images, and what they leave out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp._utils.summary import summary
from vitdecomp.heatmaps.grid import upsampled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Audit:
    """What a score is made of beside its heatmap; each `(n, direction)`.

    For methods that do not claim to add up, all but the score are not a number (NaN).

    Attributes:
        score: what is explained: the product of the representation, or of the chosen components, with the direction.
        constants: what biases, embeddings of parameters and frozen statistics contribute.
        placeless: what tokens without a place in the image contribute: class and register tokens, padding.
        residual: the score minus the sum of the map, of the constants and of what has no place.
        gate_gap: |g - g°| / (|g| + |g°|), from the full gradient with respect to the image and the one with frozen
            gates; NaN unless it was asked for.
    """

    score: Float[Tensor, "n direction"]
    constants: Float[Tensor, "n direction"]
    placeless: Float[Tensor, "n direction"]
    residual: Float[Tensor, "n direction"]
    gate_gap: Float[Tensor, "n direction"]

    @classmethod
    def of(
        cls,
        score: Tensor,
        constants: Tensor | None = None,
        placeless: Tensor | None = None,
        residual: Tensor | None = None,
    ) -> Audit:
        """Fill in NaN for what is not known."""
        unknown = torch.full_like(score, torch.nan)
        constants, placeless, residual = (unknown if x is None else x for x in (constants, placeless, residual))
        return cls(score, constants, placeless, residual, unknown)


@dataclass(frozen=True)
class Heatmaps:
    """Where in each image the score of each direction comes from.

    Attributes:
        grid: values on the grid of patches, `(n, direction, h, w)`, before upsampling.
        size: height and width of the images.
        audit: the score and what the map leaves out.
        method: the name of the explainer.
        labels: of the directions.
        signed: whether values below zero mean evidence against.
    """

    grid: Float[Tensor, "n direction h w"]
    size: tuple[int, int]
    audit: Audit
    method: str
    labels: tuple[str, ...] = field(default=())
    signed: bool = True

    def __len__(self) -> int:
        return len(self.grid)

    def __repr__(self) -> str:
        n, directions, height, width = self.grid.shape
        told = {
            "images": f"{n} of {self.size[0]} x {self.size[1]}",
            "directions": ", ".join(self.labels) or directions,
            "grid": f"{height} x {width}",
            "largest residual": f"{float(self.residual.abs().max()):.1e}" if n and directions else None,
        }
        return summary(f"Heatmaps: {self.method}", told)

    @cached_property
    def values(self) -> Float[Tensor, "n direction H W"]:
        """The maps at the resolution of the images, by bilinear interpolation."""
        return upsampled(self.grid, self.size)

    @property
    def residual(self) -> Float[Tensor, "n direction"]:
        """The score minus all that the method accounts for; NaN for methods that do not claim to add up."""
        return self.audit.residual

    @classmethod
    def joined(cls, parts: Sequence[Heatmaps], images: int | None = None) -> Heatmaps:
        """Put the maps of several batches, by one method and of the same directions, behind one another.

        Args:
            parts: the maps of each batch.
            images: how many of all are kept; `None` for all.
        """
        audits = (torch.cat([getattr(part.audit, f.name) for part in parts])[:images] for f in fields(Audit))
        return replace(parts[0], grid=torch.cat([part.grid for part in parts])[:images], audit=Audit(*audits))

    def plot(self, images: Tensor | None = None) -> Figure:
        """Draw a figure with a row for each image and a column for each direction, without showing it.

        Args:
            images: tensors as the model takes them, or PIL images, drawn below the maps.
        """
        from vitdecomp.heatmaps.figure import figure

        return figure(self, images)

    def save(self, path: str | Path) -> None:
        """Write the grids, the audit and the labels to a safetensors file.

        Raises:
            OutputError: the file cannot be written.
        """
        from vitdecomp.heatmaps.file import save

        save({self.method: self}, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> Heatmaps:
        """Read a file that `save` has written.

        Raises:
            InputError, DamageError: no such file, another format, or damage.
        """
        from vitdecomp.heatmaps.file import load

        return load(Path(path))


def labels_of(labels: Sequence[str], directions: int) -> tuple[str, ...]:
    """Return the labels, or numbers where there are none."""
    return tuple(labels) or tuple(f"direction {i}" for i in range(directions))
