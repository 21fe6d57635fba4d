"""The contract of an aligner, for tests to inherit. See docs/how-to/aligner.md."""

from __future__ import annotations

from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp.component import Component
from vitdecomp.contributions import Contributions
from vitdecomp.errors import VitdecompError
from vitdecomp.sources.aligner import Aligner


class AlignerContract:
    """What every aligner must do. Inherit it in a class whose name begins with `Test`, and run pytest.

    The source is a made-up model with two heads, an MLP and a bias; the target is a rotation of its representation
    into a smaller space, which every useful aligner can find.
    """

    def make(self) -> Aligner:
        """Make a new aligner, not fitted; the same one every time."""
        raise NotImplementedError

    def contributions(self, n: int = 400, seed: int = 0) -> Contributions:
        """Random contributions of dimension 12: heads of rank 3, an MLP of full rank, a constant."""
        weights, images = torch.Generator().manual_seed(7), torch.Generator().manual_seed(seed)

        def part(rank: int) -> Tensor:
            return torch.randn(n, rank, generator=images) @ torch.randn(rank, 12, generator=weights)

        constant = torch.randn(12, generator=weights).expand(n, -1)
        values = torch.stack([part(3), part(3), part(12), constant], 1)
        names = (("b.attn.head.0", "attn"), ("b.attn.head.1", "attn"), ("b.mlp", "mlp"), ("bias.b.mlp", "const"))
        return Contributions(values, tuple(Component(*name) for name in names), torch.zeros(n, dtype=torch.float64))

    def target(self, c: Contributions) -> Float[Tensor, "n d_clip"]:
        """Return the representation in another space, of dimension 8."""
        rotation = torch.linalg.qr(torch.randn(12, 12, generator=torch.Generator().manual_seed(8)))[0]
        found: Tensor = c.total() @ rotation[:, :8]
        return found

    def fitted(self) -> Aligner:
        """Fit an aligner to 400 images."""
        c = self.contributions()
        result = self.make().fit(c, self.target(c))
        assert isinstance(result, Aligner), "fit must return the aligner"
        return result

    @classmethod
    @cache
    def shared(cls) -> Aligner:
        """Fit the aligner that all tests share which only ask what it does."""
        return cls().fitted()

    def test_aligned_contributions_have_the_shape_of_the_target(self) -> None:
        """Every component has its place, in the same order; a bias of the aligner may follow."""
        c = self.contributions(5)
        aligned = self.shared().transform(c)
        assert aligned.values.shape[0] == 5
        assert aligned.values.shape[2] == 8
        assert aligned.components[: len(c.components)] == c.components
        assert all(component.is_constant for component in aligned.components[len(c.components) :])

    def test_unseen_images_are_taken_near_their_targets(self) -> None:
        """The mean cosine is far above that of targets of other images."""
        new = self.contributions(100, seed=1)
        total, target = self.shared().transform(new).total(), self.target(new)
        found = torch.cosine_similarity(total, target.to(total), dim=1).mean()
        others = torch.cosine_similarity(total, target.roll(1, 0).to(total), dim=1).mean()
        assert float(found) > 0.9
        assert float(found - others) > 0.5

    def test_an_image_is_aligned_on_its_own(self) -> None:
        """What other images are in the batch makes no difference."""
        aligner, c = self.shared(), self.contributions(6, seed=2)
        together = aligner.transform(c).values
        alone = torch.cat([aligner.transform(c.take([row])).values for row in range(6)])
        assert torch.allclose(together, alone, atol=1e-5)

    def test_the_same_data_give_the_same_maps(self) -> None:
        """Fitting is reproducible, and neither reads the global random state nor leaves it another."""
        c = self.contributions(5)
        first, state = self.shared().transform(c).values, torch.get_rng_state()
        torch.manual_seed(123)
        expected = torch.get_rng_state()
        second = self.fitted()
        assert torch.equal(torch.get_rng_state(), expected), "fit drew from the global random state"
        assert torch.equal(first, second.transform(c).values)
        torch.set_rng_state(state)

    def test_contributions_are_not_changed(self) -> None:
        """Neither by fitting nor by transforming."""
        c = self.contributions()
        before = c.values.clone()
        self.make().fit(c, self.target(c)).transform(c)
        assert torch.equal(c.values, before)

    def test_what_does_not_fit_is_refused(self) -> None:
        """A target of other images, other components, and use before fitting."""
        c = self.contributions()
        for action in (
            lambda: self.make().fit(c, self.target(c)[1:]),
            lambda: self.shared().transform(c.select("b.*")),
            lambda: self.make().transform(c),
        ):
            try:
                action()
            except VitdecompError:
                continue
            raise AssertionError("nothing was raised")
