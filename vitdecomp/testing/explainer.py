"""The contract of a method for heatmaps, for tests to inherit. See docs/heatmaps.md."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp.decompose import Decomposer
from vitdecomp.heatmaps import Explainer, Heatmaps, explain
from vitdecomp.heatmaps.grid import PatchGrid
from vitdecomp.models.preprocessing import DEFAULT_SIZE
from vitdecomp.testing.small_vit import SmallViT, small_vit
from vitdecomp.testing.untouched import untouched

ROUNDING = 1e-10  # of a sum in double precision
ALONE = 2  # the image that is explained on its own


class ExplainerContract:
    """What every method for heatmaps must do. Inherit it in a class whose name begins with `Test`, and run pytest.

    Attributes:
        explainer: the method's class, which is registered.
        settings: of the method.
        at_pixels: whether maps are at the resolution of the images, not on the grid of patches.
        reads_directions: whether two directions have different maps.
        audited: whether maps that do not add up to the score say what they leave out all the same.
        tolerance: how far the map of an image alone may be from its map in a batch, relative and absolute.
    """

    explainer: ClassVar[type[Explainer]]
    settings: ClassVar[Mapping[str, Any]] = {}
    at_pixels: ClassVar[bool] = False
    reads_directions: ClassVar[bool] = True
    audited: ClassVar[bool] = False
    tolerance: ClassVar[tuple[float, float]] = (1e-9, 1e-12)

    def decomposer(self) -> Decomposer:
        """Return a fitted model in double precision: here a small one with a class token and patches."""
        return _small()

    def images(self) -> Float[Tensor, "n *image"]:
        """Return three images or more, as the model takes them."""
        size = self.decomposer().loaded_.input_size or DEFAULT_SIZE
        return torch.randn(4, *size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def directions(self) -> Float[Tensor, "2 d"]:
        """Return two directions."""
        d = self.decomposer().report_.dimension
        return torch.randn(2, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def together(self) -> Heatmaps:
        """Return the maps of all images and of both directions."""
        return self._shared(False)

    def alone(self) -> Heatmaps:
        """Return the maps of the third image and the second direction."""
        return self._shared(True)

    @classmethod
    @cache
    def _shared(cls, alone: bool) -> Heatmaps:
        """Make the maps once that all tests only look at."""
        return cls().explain(alone=alone)

    def explain(self, *, alone: bool = False) -> Heatmaps:
        """Explain all images, or one image and one direction, by the method."""
        images, directions = self.images(), self.directions()
        if alone:
            images, directions = images[ALONE : ALONE + 1], directions[1:]
        return explain(self.decomposer(), images, directions, self.explainer.name, **self.settings)

    def test_maps_have_a_value_for_each_place(self) -> None:
        """They are finite, on the grid of the model's patches and at the size of the images, and need no gradient."""
        maps, images = self.together(), self.images()
        n, size = len(images), tuple(images.shape[-2:])
        assert maps.values.shape == (n, 2, *size)
        grid = size if self.at_pixels else PatchGrid(self.decomposer().tokens_).size
        assert maps.grid.shape == (n, 2, *grid)
        assert not maps.grid.requires_grad
        assert bool(maps.grid.isfinite().all())
        assert maps.method == self.explainer.name

    def test_an_image_and_a_direction_alone_have_the_same_map(self) -> None:
        """What other images and directions are explained with them makes no difference."""
        relative, absolute = self.tolerance
        whole = self.together().grid[ALONE : ALONE + 1, 1:]
        torch.testing.assert_close(self.alone().grid, whole, rtol=relative, atol=absolute)

    def test_unsigned_maps_have_no_negative_values(self) -> None:
        """A method says whether values below zero mean evidence against."""
        maps = self.together()
        assert maps.signed == self.explainer.signed
        assert maps.signed or float(maps.grid.min()) >= 0

    def test_directions_are_told_apart(self) -> None:
        """Two directions have different maps, unless the method does not read them."""
        grid = self.together().grid
        assert torch.allclose(grid[:, 0], grid[:, 1]) != self.reads_directions

    def test_what_adds_up_adds_up_to_the_score(self) -> None:
        """The score is the product with the direction; a method that adds up has no residual, others claim none."""
        audit = self.together().audit
        score = self.decomposer().represent(self.images()) @ self.directions().T
        torch.testing.assert_close(audit.score, score, rtol=ROUNDING, atol=ROUNDING)
        if self.explainer.adds_up:
            total = self.together().grid.sum((-2, -1)) + audit.constants + audit.placeless
            torch.testing.assert_close(total, score, rtol=ROUNDING, atol=ROUNDING)
            assert float(audit.residual.abs().max()) <= ROUNDING
        else:
            assert self.audited or bool(audit.residual.isnan().all())

    def test_the_same_maps_come_again_and_the_model_is_left_untouched(self) -> None:
        """Explaining is reproducible, and changes no parameter, flag, hook or random state."""
        with untouched(self.decomposer().loaded_.module):
            again = self.explain()
        assert torch.equal(again.grid, self.together().grid)


@cache
def _small() -> Decomposer:
    return Decomposer(small_vit()).fit(torch.zeros(1, *SmallViT.size, dtype=torch.float64))
