"""Heatmaps of a batch of inputs, and what they leave out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp._utils.summary import summary
from vitdecomp.errors import SpecError
from vitdecomp.heatmaps.grid import upsampled
from vitdecomp.heatmaps.parts import Parts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Combine: TypeAlias = "Callable[[list[Tensor]], Tensor]"


@dataclass(frozen=True)
class Audit:
    """What a score is made of beside its heatmap; each `(n, direction)`.

    For methods that do not claim to add up, all but the score are not a number (NaN).

    Attributes:
        score: what is explained: the product of the representation, or of the chosen components, with the direction.
        constants: what biases, embeddings of parameters and frozen statistics contribute.
        placeless: what tokens without a place in the input contribute: class and register tokens, padding.
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
    """Hold where in each input the score of each direction comes from.

    Attributes:
        grid: values on the grid of patches, before upsampling: `(n, direction, h, w)` of images, `(n, direction,
            frames, h, w)` of videos, `(n, direction, time, frequency)` of spectrograms.
        size: how long the same axes of an input are, such as height and width of images.
        audit: the score and what the map leaves out.
        method: the name of the explainer.
        labels: of the directions.
        signed: whether values below zero mean evidence against.
        layers: the maps of the layers, of a method that sums over some; they add up to `grid`.
        components: what each component adds to the sum over a map, of a method that tells them apart.
    """

    grid: Float[Tensor, "n direction *grid"]
    size: tuple[int, ...]
    audit: Audit
    method: str
    labels: tuple[str, ...] = field(default=())
    signed: bool = True
    layers: Parts | None = None
    components: Parts | None = None

    def __len__(self) -> int:
        return len(self.grid)

    def __repr__(self) -> str:
        n, directions, *grid = self.grid.shape
        told = {
            "images": f"{n} of {' x '.join(map(str, self.size))}",
            "directions": ", ".join(self.labels) or directions,
            "grid": " x ".join(map(str, grid)),
            "largest residual": f"{float(self.residual.abs().max()):.1e}" if n and directions else None,
        }
        return summary(f"Heatmaps: {self.method}", told)

    @cached_property
    def values(self) -> Float[Tensor, "n direction *size"]:
        """The maps at the resolution of the inputs, by linear interpolation along each axis."""
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

        def behind(tensors: list[Tensor]) -> Tensor:
            return torch.cat(tensors)[:images]

        return cls.combined(parts, behind, behind)

    @classmethod
    def combined(cls, several: Sequence[Heatmaps], numbers: Combine, grids: Combine) -> Heatmaps:
        """Combine maps by one method and of the same directions.

        Args:
            several: the maps.
            numbers: combines what there is of each map in numbers.
            grids: combines maps.
        """
        first = several[0]
        audit = (numbers([getattr(each.audit, f.name) for each in several]) for f in fields(Audit))
        layers = [each.layers.values for each in several if each.layers is not None]
        amounts = [each.components.values for each in several if each.components is not None]
        return replace(
            first,
            grid=grids([each.grid for each in several]),
            audit=Audit(*audit),
            layers=replace(first.layers, values=grids(layers)) if first.layers is not None else None,
            components=replace(first.components, values=numbers(amounts)) if first.components is not None else None,
        )

    def by_layer(self, direction: int = 0) -> Heatmaps:
        """Return the maps of each layer for one direction, in place of the maps of directions.

        Raises:
            SpecError: the method has no layers.
        """
        if self.layers is None:
            raise SpecError(f"{self.method} is no sum over layers: legrad is")
        values = self.layers.values[:, direction]
        score = self.audit.score[:, direction, None].expand(-1, len(self.layers.names))
        return Heatmaps(values, self.size, Audit.of(score), self.method, self.layers.names, self.signed)

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
