"""Tests that come with the package: authors of adapters inherit them. See docs/how-to/adapter.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from vitdecomp.adapter import Adapter, LoadedModel
from vitdecomp.decompose import Decomposer
from vitdecomp.errors import SpecError
from vitdecomp.images import DEFAULT_SIZE
from vitdecomp.random_weights import randomise
from vitdecomp.tolerance import TOLERANCE, relative_error

__all__ = ["AdapterContract", "randomise", "snapshot", "untouched"]

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
        """The model, with random weights in float64 and without zeros."""
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
        "values": {name: t.detach().double().sum().item() for name, t in tensors.items()},
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
