"""What is to be explained: a fitted model, a batch of inputs, directions; and what several methods share of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp.attention.attentions import Attentions
from vitdecomp.component import Component
from vitdecomp.decompose import Decomposer
from vitdecomp.engine.granularity import By
from vitdecomp.errors import SpecError
from vitdecomp.heatmaps.directions import Directions
from vitdecomp.heatmaps.frozen_map import FrozenMap
from vitdecomp.heatmaps.grid import PatchGrid
from vitdecomp.trace.recorder import Recorder
from vitdecomp.trace.rule import Gate


@dataclass(frozen=True)
class Subject:
    """One batch of images, and the directions to explain.

    Attributes:
        decomposer: fitted to the model.
        images: as the model takes them.
        asked: the directions whose scores are explained.
        components: patterns of names; only these are explained, `None` for all.
        gates: what the methods read of the one run of the model that they share.
        run: the representations and the values of the gates, where a method's own run of the model has told them.
    """

    decomposer: Decomposer
    images: Float[Tensor, "n *image"]
    asked: Directions
    components: tuple[str, ...] | None = None
    gates: tuple[Gate, ...] = ()
    run: tuple[Tensor, Mapping[Gate, Any]] | None = None

    @cached_property
    def axes(self) -> tuple[int, ...]:
        """The axes of the batch along which maps lie: rows and columns of images, frames too of videos."""
        along = self.decomposer.views.of("token")[0].axis.along
        return tuple(axis + 1 for axis in along) or tuple(range(self.images.ndim))[1:][-2:]

    @property
    def size(self) -> tuple[int, ...]:
        """Return the lengths of these axes: height and width of images."""
        return tuple(self.images.shape[axis] for axis in self.axes)

    def by_place(self, x: Float[Tensor, "n *image"]) -> Float[Tensor, "n *size"]:
        """Sum values of all elements of the inputs over what is at one place, such as channels."""
        rest = [axis for axis in range(1, x.ndim) if axis not in self.axes]
        return x.sum(rest) if rest else x

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the directions, for figures."""
        return self.asked.labels

    @property
    def directions(self) -> Float[Tensor, "n direction d"]:
        """The directions as vectors in the representation's space.

        Raises:
            SpecError: maps take each component another way, so that there is no such vector.
        """
        if self.asked.vectors is None:
            raise SpecError(
                "these maps have a direction for each component, and the method needs one for the whole "
                "representation: take decompose or value, or maps by vitdecomp align --by representation"
            )
        return self.asked.vectors.to(self.images)

    @property
    def by_direction(self) -> Float[Tensor, "direction n d"]:
        """The directions, as they are pulled through a linear graph one by one."""
        return self.directions.transpose(0, 1)

    @cached_property
    def grid(self) -> PatchGrid:
        """The places of the tokens in the input."""
        return PatchGrid(self.decomposer.tokens_)

    @cached_property
    def recorder(self) -> Recorder:
        """The model's graph with what the methods read of its run."""
        return self.decomposer.views.recorder(self.gates)

    @cached_property
    def _run(self) -> tuple[Tensor, Mapping[Gate, Any]]:
        return self.recorder(self.images) if self.run is None else self.run

    @property
    def representation(self) -> Float[Tensor, "n d"]:
        """The vectors that are explained."""
        return self._run[0]

    def with_representation(self, output: Float[Tensor, "n d"]) -> Subject:
        """Take the representations from a run of the method's own, unless a run records gates anyway."""
        return self if self.gates or self.run is not None else replace(self, run=(output, {}))

    @property
    def recorded(self) -> Mapping[Gate, Any]:
        """The values of the gates."""
        return self._run[1]

    @cached_property
    def score(self) -> Float[Tensor, "n direction"]:
        """<direction, representation>, and what the maps add to it; with maps by component the sum over components."""
        if self.asked.vectors is None:
            c = self.decomposer.transform(self.images, "head")
            q = torch.stack([self.asked.by_component[each.name] for each in c.components], 1).to(c.values)
            return self.with_offset(torch.einsum("ncd,ncqd->nq", c.values, q.expand(len(c.values), -1, -1, -1)))
        return self.with_offset((self.directions @ self.representation[:, :, None])[..., 0])

    @property
    def scale(self) -> Float[Tensor, "n direction"]:
        """|direction| |representation|, which residuals are compared with; with maps by component, their largest."""
        directions = self.asked.vectors
        if directions is None:
            found: Tensor = torch.stack([*self.asked.by_component.values()]).norm(dim=-1).amax(0)
        else:
            found = directions.norm(dim=-1)
        largest: Tensor = found * self.representation.norm(dim=-1, keepdim=True)
        return largest

    def with_offset(self, constants: Float[Tensor, "n direction"]) -> Float[Tensor, "n direction"]:
        """Add what maps add to every score."""
        return constants if self.asked.offset is None else constants + self.asked.offset

    @cached_property
    def attentions(self) -> Attentions:
        """The model's attentions, with the places of their keys and queries.

        Raises:
            SpecError: there are none.
        """
        views = self.decomposer.views
        try:
            return views.derived(Attentions, lambda: Attentions.of(views.paths))
        except SpecError as error:
            raise SpecError(f"{error}: take method='decompose'") from error

    @cached_property
    def frozen(self) -> FrozenMap:
        """The linear map from the input to the representation with all gates frozen.

        Raises:
            SpecError: nothing of the image reaches the representation that way.
        """
        return self.decomposer.views.derived(FrozenMap, lambda: FrozenMap.of(self.decomposer.views.captured))

    def portions(self, most: int) -> Iterator[Subject]:
        """Split the batch so that a run finds room, the last portion may be filled up with its last image.

        Args:
            most: how many images a portion may have.
        """
        start = 0
        for images in self.recorder.portions(self.images, most):
            yield replace(self, images=images, asked=self.asked.portion(start, len(images)))
            start += len(images)

    def batches(self, most: int) -> Iterator[tuple[Tensor, Float[Tensor, "n direction d"]]]:
        """Split the batch so that one part has at most so many images."""
        yield from zip(torch.split(self.images, most), torch.split(self.directions, most), strict=True)

    def shifted(self, rows: float, columns: float) -> Subject:
        """Shift the images cyclically by shares of a patch, up and to the left.

        Raises:
            SpecError: the grid has other axes than rows and columns.
        """
        if not rows and not columns:
            return self
        if len(self.axes) != 2:
            raise SpecError(
                f"shifts are along rows and columns, and this grid has {len(self.axes)} axes: leave them out"
            )
        cells = [length / cells for length, cells in zip(self.size, self.grid.size, strict=True)]
        by = [-round(share * cell) for share, cell in zip((rows, columns), cells, strict=True)]
        return replace(self, images=torch.roll(self.images, by, self.axes))

    @property
    def whole(self) -> bool:
        """Whether all components are explained, by one direction for all of them."""
        return self.components is None and not self.asked.by_component

    @property
    def token_granularities(self) -> list[By]:
        """Return the granularities that hold all chosen components by token: heads apart only if that is needed."""
        return ["token"] if self.whole else ["token", ("head", "token")]

    def chosen(self, components: tuple[Component, ...]) -> list[int]:
        """Return the places of the chosen ones among some components."""
        return [i for i, c in enumerate(components) if self.components is None or c.matches(self.components)]
