"""Tests that come with the package: authors of adapters and aligners inherit them. See docs/how-to/adapter.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from vitdecomp._utils.tolerance import TOLERANCE, relative_error
from vitdecomp.component import Component
from vitdecomp.contributions import Contributions
from vitdecomp.decompose import Decomposer
from vitdecomp.errors import SpecError, VitdecompError
from vitdecomp.models.adapter import Adapter, LoadedModel
from vitdecomp.models.preprocessing import DEFAULT_SIZE
from vitdecomp.models.random_weights import randomise
from vitdecomp.sources.aligner import Aligner

__all__ = ["AdapterContract", "AlignerContract", "randomise", "snapshot", "untouched"]

HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
    "_load_state_dict_pre_hooks",
)


class AdapterContract:
    """What every adapter must do. Inherit it in a class whose name begins with `Test`, and run pytest.

    Attributes:
        adapter: the adapter's class.
        name: a model that it loads without trained weights; choose a small one.
        options: further arguments of `load`, to make the model smaller still.
        unknown: a name that means nothing to the library.
    """

    adapter: ClassVar[type[Adapter]]
    name: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = {}
    unknown: ClassVar[str] = "no_such_model"

    def load(self) -> LoadedModel:
        """Load the model, with random weights in float64 and without zeros."""
        loaded = self.adapter().load(self.name, pretrained=False, **self.options)
        randomise(loaded.module.double())
        return loaded

    def images(self, loaded: LoadedModel, n: int = 2) -> Float[Tensor, "n *image"]:
        """Random images of the model's size."""
        source = torch.Generator().manual_seed(1)
        return torch.randn((n, *(loaded.input_size or DEFAULT_SIZE)), generator=source, dtype=torch.float64)

    def test_the_loaded_model_is_complete(self) -> None:
        """It is in evaluation mode, has an embedding, and its spec names its library."""
        loaded = self.load()
        assert isinstance(loaded, LoadedModel)
        assert not any(module.training for module in loaded.module.modules())
        assert "embedding" in loaded.outputs
        assert loaded.spec.startswith(f"{self.adapter.prefix}:")
        assert not loaded.pretrained

    def test_every_output_is_one_vector_per_image(self) -> None:
        """All outputs have the shape `(n, d)`."""
        loaded = self.load()
        x = self.images(loaded)
        for output in loaded.outputs:
            with torch.no_grad():
                y = loaded.representation(output)(x)
            assert y.ndim == 2, f"{output} has the shape {tuple(y.shape)}"
            assert len(y) == len(x)

    def test_preprocessing_gives_images_of_the_model(self) -> None:
        """A photograph becomes a tensor of the size that the model was built for."""
        loaded = self.load()
        if loaded.preprocess is None or loaded.input_size is None:
            return
        photograph = Image.linear_gradient("L").resize((300, 200)).convert("RGB")
        assert tuple(loaded.preprocess(photograph).shape) == tuple(loaded.input_size)

    def test_the_decomposition_is_exact(self) -> None:
        """The contributions add up to what the model itself returns, and no two components share a name."""
        loaded = self.load()
        x = self.images(loaded)
        dec = Decomposer(loaded).fit(x[:1])
        c = dec.transform(x)
        with torch.no_grad():
            y = loaded.representation()(x)
        assert float(relative_error(c.total(), y).max()) <= TOLERANCE[torch.float64]
        assert dec.report_.exact
        names = [component.name for component in c.components]
        assert len(set(names)) == len(names)
        assert any(not component.is_constant for component in c.components)

    def test_the_module_is_left_untouched(self) -> None:
        """Decomposing changes no parameter, flag, hook or random state."""
        loaded = self.load()
        x = self.images(loaded)
        with untouched(loaded.module):
            Decomposer(loaded).fit(x[:1]).transform(x)

    def test_the_module_alone_is_recognised(self) -> None:
        """A user who made the model without vitdecomp gets the same outputs."""
        loaded = self.load()
        known = self.adapter().recognise(loaded.module)
        assert known is not None
        assert known.module is loaded.module
        assert set(known.outputs) == set(loaded.outputs)
        x = self.images(loaded)
        with torch.no_grad():
            assert torch.equal(known.representation()(x), loaded.representation()(x))

    def test_a_foreign_module_is_not_recognised(self) -> None:
        """Other libraries' modules are left to other adapters."""
        assert self.adapter().recognise(nn.Linear(2, 2)) is None

    def test_an_unknown_name_is_refused(self) -> None:
        """What the library does not have is a `SpecError`, and so exit code 2 on the command line."""
        import pytest

        with pytest.raises(SpecError) as caught:
            self.adapter().load(self.unknown, pretrained=False)
        assert "\n" not in str(caught.value)


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


def snapshot(module: nn.Module) -> dict[str, Any]:
    """All that must stay as it was: parameters, buffers, flags, hooks, attributes and the random state."""
    parts = dict(module.named_modules())
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {
        "parts": {name: id(part) for name, part in parts.items()},
        "training": {name: part.training for name, part in parts.items()},
        "hooks": {name: [len(getattr(part, hook, ())) for hook in HOOKS] for name, part in parts.items()},
        "attributes": {name: sorted(vars(part)) for name, part in parts.items()},
        "tensors": {name: (id(t), t.dtype, t.device, t.requires_grad) for name, t in tensors.items()},
        "values": {name: repr(t.detach().double().sum().item()) for name, t in tensors.items()},  # NaN is as it was
        "random state": torch.get_rng_state().tolist(),
    }


@contextmanager
def untouched(module: nn.Module) -> Iterator[None]:
    """Raise `AssertionError` if what happens inside changes the module or the global random state."""
    before = snapshot(module)
    yield
    after = snapshot(module)
    changed = [key for key in before if before[key] != after[key]]
    assert not changed, f"{type(module).__name__}: changed {', '.join(changed)}"
