"""Capturing graphs: the fallback front end, batch sizes, gradients switched off inside a model."""

from __future__ import annotations

import pytest
import torch
from helpers import pictures, randomised
from third_party import HEADS, MODELS, EinopsViT
from torch import Tensor, nn

import vitdecomp as vd
from vitdecomp.trace.capture import capture, takes
from vitdecomp.trace.front_ends import FRONT_ENDS


@pytest.mark.parametrize("name", ["einops_cls", "parallel", "windows"])
def test_the_fallback_is_exact_and_names_by_parameters(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitdecomp.trace.front_ends.FRONT_ENDS", {"make_fx": FRONT_ENDS["make_fx"]})
    module = randomised(MODELS[name][0]())
    images = pictures(3, 16)
    decomposer = vd.Decomposer(module).fit(images[:1])
    contributions = decomposer.transform(images)  # three images through a graph for two
    assert decomposer.report_.front_end == "make_fx"
    assert torch.allclose(contributions.total(), module(images).detach(), atol=1e-10)
    assert list(decomposer.report_.heads.values()) == [HEADS, HEADS]
    assert decomposer.report_.covered


def test_the_fallback_knows_the_modules_that_have_no_parameters() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.Tanh(), nn.Flatten())
            self.gate, self.head = nn.Sigmoid(), nn.Linear(64, 5)

        def forward(self, images: Tensor) -> Tensor:
            return self.head(self.gate(self.stem(images)).exp())

    module = Gated().double()
    hooks = dict(torch.nn.modules.module._global_forward_hooks)
    graph = FRONT_ENDS["make_fx"](module, pictures(2, 16)).graph
    called = {str(n.target): [path for path, _ in n.meta.get("nn_module_stack", {}).values()] for n in graph.nodes}
    assert called["aten.tanh.default"] == ["", "stem", "stem.1"]
    assert called["aten.sigmoid.default"] == ["", "gate"]
    assert called["aten.exp.default"] == [""]
    assert dict(torch.nn.modules.module._global_forward_hooks) == hooks


def test_any_batch_size(tiny_vit: nn.Module) -> None:
    captured = capture(tiny_vit, pictures(1, 32))
    assert captured.batch is None
    for n in (1, 2, 5):
        images = pictures(n, 32)
        assert torch.allclose(captured.module(images)[0], tiny_vit(images), atol=1e-12)


def test_a_model_that_asks_for_its_batch_size_as_a_number() -> None:
    class Counted(EinopsViT):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images.reshape(len(images), 3, 16, 16))

    module, images = randomised(Counted()), pictures(5, 16)
    decomposer = vd.Decomposer(module).fit(images)
    assert torch.allclose(decomposer.transform(images).total(), module(images).detach(), atol=1e-10)
    q = torch.randn(5, 2, 24, dtype=torch.float64)
    assert decomposer.attribute(images, q).shape[:2] == (5, 2)
    assert torch.allclose(decomposer.represent(images), module(images).detach(), atol=1e-10)


def test_gradients_switched_off_inside_the_model() -> None:
    class Frozen(EinopsViT):
        def forward(self, images: Tensor) -> Tensor:
            with torch.no_grad():
                return super().forward(images)

    contributions = vd.Decomposer(randomised(Frozen())).fit_transform(pictures(2, 16))
    assert contributions.error.max() < 1e-12
    assert sum(c.head is not None for c in contributions.components) == 2 * HEADS


def test_a_module_that_stands_in_two_places() -> None:
    class Recurrent(EinopsViT):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([self.layers[0], self.layers[0]])

    decomposer = vd.Decomposer(randomised(Recurrent())).fit(pictures(2, 16))
    assert decomposer.report_.heads == {"layers.0.0": HEADS, "layers.1.0": HEADS}
    assert decomposer.report_.exact


@pytest.mark.parametrize("error", [MemoryError, torch.OutOfMemoryError])
def test_a_lack_of_memory_is_no_matter_of_the_format(error: type[Exception]) -> None:
    class Failing(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            raise kind("no room")

    kind: type[Exception] = error
    with pytest.raises(error, match="no room"):
        takes(Failing(), pictures(1, 8))
    kind = AssertionError
    assert not takes(Failing(), pictures(1, 8))
