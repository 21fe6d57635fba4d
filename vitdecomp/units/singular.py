"""Singular directions: where the linear map of a component can write most, whatever the images hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp._utils.modes import in_neutral_mode
from vitdecomp.component import Component
from vitdecomp.contributions import Contributions
from vitdecomp.engine.component_set import ComponentSet
from vitdecomp.engine.granularity import By
from vitdecomp.engine.partition import Partition
from vitdecomp.engine.pull import pull_together
from vitdecomp.engine.views import Views
from vitdecomp.errors import SpecError
from vitdecomp.units.directions import Directions
from vitdecomp.units.splitter import Splitter

TOKENS = 16  # of which a map is kept; more of them are mixed at random into so many
VARIES = 1e-12  # share of the largest squared singular value below which one is rounding
Self = TypeVar("Self", bound="SingularDirections")


@runtime_checkable
class Traced(Protocol):
    """A fitted `Decomposer`, as far as directions need it."""

    @property
    def views(self) -> Views:
        """The linear paths at every granularity."""
        ...

    def checked(self, images: Tensor) -> Tensor:
        """Bring images to the number format that the model takes."""
        ...

    def transform(self, images: Tensor, by: By) -> Contributions:
        """Split the representation of images into contributions."""
        ...


class SingularDirections(Splitter):
    """The k leading singular directions of every component's linear map to the representation.

    A component's channels x_t at its tokens t (an attention head's output, an MLP's neurons) reach the representation
    as sum_t A_t x_t, with the gates of the images of `fit` held. u_j are the leading eigenvectors of
    sum_t A_t A_t^T, the directions in which unit noise in the channels has the largest variance: for one token, the
    left singular vectors of A. The maps come from the traced graph, through windows, merges and norms of any model.
    Beside the gates nothing of the images counts: random ones do (compare SITH, arXiv 2603.24653, which puts the
    map of the values in front).

    Args:
        k: directions of each component at most.
        random_state: mixes tokens, where there are more than 16 of a component with maps of their own.

    Attributes:
        directions_: of all components but constants; `strengths` are singular values, estimated where tokens are mixed.
    """

    def __init__(self, k: int = 4, *, random_state: int = 0) -> None:
        self.k, self.random_state = k, random_state

    @in_neutral_mode
    def fit(self: Self, decomposer: Traced, images: Float[Tensor, "n *image"]) -> Self:
        """Pull every axis of the representation back to the components.

        Args:
            decomposer: fitted to the model; components are attention heads, MLPs and conv blocks, `by="head"`.
            images: at which gates are held, such as one; maps of several are averaged.

        Raises:
            InputError: images unlike those of the decomposer's `fit`. SpecError: k is not positive, or not fitted yet.
        """
        if self.k < 1:
            raise SpecError(f"k must be 1 or more, not {self.k}")
        every = decomposer.views.of("head")[1].components
        named = {component.name: component for component in every}
        squares: dict[Component, Tensor] = {}
        for image in torch.split(decomposer.checked(images), 1):
            for name, square in self._squares(decomposer, image):
                component = named[name]
                squares[component] = squares[component] + square if component in squares else square
        bases, strengths = {}, {}
        for component, square in squares.items():
            values, vectors = torch.linalg.eigh(square / len(images))
            leading = values.flip(0)[: self.k]
            kept = leading > VARIES * values.max().clamp(min=1e-300)
            if bool(kept.any()):
                bases[component] = vectors.flip(1)[:, : self.k][:, kept].T.float()
                strengths[component] = leading[kept].sqrt()
        self.directions_ = Directions(every, bases, strengths)
        return self

    def _squares(self, decomposer: Traced, image: Tensor) -> Iterator[tuple[str, Float[Tensor, "d d"]]]:
        """Yield sum_t A_t A_t^T of each component for one image, by its name."""
        components = decomposer.views.of("neuron")[1]  # where an MLP is its neurons, in front of their projection
        parts = [one for one in components.partitions if not components.components[one.rows[0]].is_constant]
        found: dict[int, list[Tensor]] = {one.part.leaf: [] for one in parts}
        recorder = decomposer.views.recorder(components.paths.recorder.gates)
        for chunk in recorder.portions(image):
            representation, recorded = recorder(chunk)
            d = representation.shape[1]
            axes = torch.eye(d).to(representation)[:, None].expand(d, len(chunk), d)
            with torch.no_grad():
                for adjoints in pull_together(components.paths.graph, recorded, axes, {*found}):
                    for one in parts:
                        maps = one.part.layout.canonical(adjoints[one.part.leaf], len(chunk))[:, 0]
                        found[one.part.leaf].append(self._mixed(maps))
            break  # a batch is filled up with copies where the model takes no single image
        for one in parts:
            yield from self._by_head(components, one, torch.cat(found[one.part.leaf]).double())

    def _mixed(self, maps: Float[Tensor, "some head token channel"]) -> Float[Tensor, "some head few channel"]:
        """Mix many tokens into few, at random, so that squares keep their expectation."""
        if maps.shape[2] <= TOKENS:
            return maps
        source = torch.Generator().manual_seed(self.random_state)
        mix = torch.randn(maps.shape[2], TOKENS, generator=source, dtype=torch.float64).to(maps) / TOKENS**0.5
        return torch.einsum("qhtw,ts->qhsw", maps, mix)

    def _by_head(
        self, components: ComponentSet, one: Partition, maps: Float[Tensor, "d head token channel"]
    ) -> Iterator[tuple[str, Float[Tensor, "d d"]]]:
        """Yield the squares of each head, or of all channels together where a part has no heads."""
        heads = maps.movedim(1, 0) if one.heads > 1 else maps[None]
        for component, own in zip(components.rows_of(one), heads.flatten(2), strict=True):
            yield component.name, own @ own.T
