"""The contract of a model with operations of its own, for tests to inherit. See docs/how-to/rule.md."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp._utils.tolerance import TOLERANCE, relative_error
from vitdecomp.decompose import Decomposer
from vitdecomp.models.adapter import LoadedModel
from vitdecomp.models.preprocessing import DEFAULT_SIZE
from vitdecomp.testing.untouched import untouched
from vitdecomp.trace.passes.optimize import PASSES

EXACT = TOLERANCE[torch.float64]


class ModelContract:
    """What must hold of every model that is decomposed, whatever operations it has.

    Inherit it in a class whose name begins with `Test`, say how the model is loaded, and run pytest.
    """

    def load(self) -> LoadedModel:
        """Load the model in evaluation mode, in float64 and without zeros among its weights; see `randomise`."""
        raise NotImplementedError

    def images(self, loaded: LoadedModel, n: int = 2) -> Float[Tensor, "n *image"]:
        """Random images of the model's size."""
        source = torch.Generator().manual_seed(1)
        return torch.randn((n, *(loaded.input_size or DEFAULT_SIZE)), generator=source, dtype=torch.float64)

    def test_the_decomposition_is_exact(self) -> None:
        """The contributions add up to what the model itself returns, and no two components share a name."""
        loaded = self.load()
        x = self.images(loaded)
        dec = Decomposer(loaded).fit(x[:1])
        c = dec.transform(x)
        with torch.no_grad():
            y = loaded.representation()(x)
        assert float(relative_error(c.total(), y).max()) <= EXACT
        assert dec.report_.exact
        names = [component.name for component in c.components]
        assert len(set(names)) == len(names)
        assert any(not component.is_constant for component in c.components)

    def test_passes_change_no_number(self) -> None:
        """The plain paths, with nothing pushed down and nothing folded, give the same contributions."""
        loaded = self.load()
        x = self.images(loaded)
        fast, plain = (Decomposer(loaded, cache=None, passes=p).fit(x[:1]).transform(x) for p in (PASSES, ()))
        assert fast.components == plain.components
        assert float((fast.values - plain.values).abs().max() / plain.values.abs().max()) <= EXACT

    def test_the_module_is_left_untouched(self) -> None:
        """Decomposing changes no parameter, flag, hook or random state."""
        loaded = self.load()
        x = self.images(loaded)
        with untouched(loaded.module):
            Decomposer(loaded).fit(x[:1]).transform(x)
