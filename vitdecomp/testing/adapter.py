"""The contract of an adapter, for tests to inherit. See docs/how-to/adapter.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import nn

from vitdecomp.errors import SpecError
from vitdecomp.models.adapter import Adapter, LoadedModel
from vitdecomp.models.random_weights import randomise
from vitdecomp.testing.model import ModelContract


class AdapterContract(ModelContract):
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
