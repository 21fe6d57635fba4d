"""One trace is enough where nobody sees what a model changes in place; else a second one tells what is what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers import cached, randomised
from torch import Tensor, nn
from torch.torch_version import TorchVersion

from vitdecomp.trace.front_ends import export

Forward = Callable[[nn.Module, Tensor], Tensor]


class Written(nn.Module):
    """A model with some layers and a forward."""

    def __init__(self, function: Forward) -> None:
        super().__init__()
        self.function, self.linear, self.norm = function, nn.Linear(6, 6), nn.BatchNorm1d(6)
        self.quiet = nn.FeatureAlphaDropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def in_half_of_it(m: Any, x: Tensor) -> Tensor:
    y = m.linear(x)
    y[:, 2:] += 1
    return y


def read_before(m: Any, x: Tensor) -> Tensor:
    y = m.linear(x)
    z = 2 * y
    return F.relu(y, inplace=True) + z


def read_through_a_view(m: Any, x: Tensor) -> Tensor:
    y = m.linear(x)
    z = y.unflatten(1, (2, 3))
    z.mul_(3)
    return y


def read_through_what_does_nothing(m: Any, x: Tensor) -> Tensor:
    y = m.linear(x)
    F.dropout(y, 0.5, training=False).mul_(3)
    return y


def with_gradients(m: Any, x: Tensor) -> Tensor:
    with torch.enable_grad():
        y = m.linear(x)
    return y.relu_().detach()


def of_coarser_numbers(m: Any, x: Tensor) -> Tensor:
    return m.linear(x).float().add_(x / 3).mul(2).to(x.dtype)


ONCE: dict[str, Forward] = {
    "nothing in place": lambda m, x: m.norm(F.dropout(m.linear(x), 0.5, training=False).reshape(-1, 2, 3).flatten(1)),
    "an activation": lambda m, x: F.silu(m.norm(m.linear(x)), inplace=True),
    "two after each other": lambda m, x: F.relu(m.linear(x), inplace=True).mul_(2.0),
    "a view that alone is read": lambda m, x: m.linear(x).unflatten(1, (2, 3)).mT.add_(x[:, :2, None].mT).flatten(1),
    "a tensor of two names": read_through_what_does_nothing,
    "a dropout of features": lambda m, x: m.quiet(m.linear(x)),
}
TWICE: dict[str, Forward] = {
    "in half of it": in_half_of_it,
    "read before": read_before,
    "read through a view": read_through_a_view,
    "with gradients": with_gradients,
    "of coarser numbers": of_coarser_numbers,
    "the images themselves": lambda m, x: m.linear(x.mul_(2)),
    "views that no rule knows": lambda m, x: torch.cat(torch.hsplit(m.linear(x), 2)[::-1], 1),
}


@cached
def images() -> Tensor:
    return torch.randn(3, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


LOST = pytest.mark.skipif(TorchVersion(torch.__version__) < (2, 14), reason="torch loses it; `fit` refuses the graph")
HOW = [pytest.param(how, marks=LOST if how == "a tensor of two names" else ()) for how in (*ONCE, *TWICE)]


@pytest.mark.parametrize("how", HOW)
def test_a_graph_computes_what_the_model_does_and_changes_nothing(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, again = randomised(Written({**ONCE, **TWICE}[how])), []
    whole = torch.export.ExportedProgram.run_decompositions
    monkeypatch.setattr(
        torch.export.ExportedProgram, "run_decompositions", lambda *given: again.append(1) or whole(*given)
    )
    with torch.no_grad():
        graph = export(module, images()[:2].clone())
        given = images().clone()
        found = graph(given)[-1]  # behind images that were changed
        assert torch.equal(given, images())
        torch.testing.assert_close(found, module(images().clone()), rtol=1e-14, atol=1e-14)
    assert len(again) == (how in TWICE)
    assert not any(getattr(getattr(n.target, "_schema", None), "is_mutable", False) for n in graph.graph.nodes)
