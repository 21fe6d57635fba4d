"""A model that was changed after `fit`: followed where the paths are the same, refused in one line where not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers import pictures, randomised
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from torch.utils.flop_counter import FlopCounterMode

import vitdecomp as vd


@pytest.fixture
def model() -> Any:
    sizes: dict[str, Any] = {"img_size": 16, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}
    return randomised(VisionTransformer(**sizes, num_classes=0))


IMAGES = pictures(2, 16)


def twice(module: nn.Module, given: Any, found: Tensor) -> Tensor:
    return 2 * found


def twice_linear(module: nn.Module, given: Any, found: Tensor) -> Tensor | None:
    return 2 * found if isinstance(module, nn.Linear) else None


def swap(model: Any) -> None:
    model.blocks[0], model.blocks[1] = model.blocks[1], model.blocks[0]


def twice_features(model: Any) -> None:
    model.forward_features = lambda *given, **named: 2 * type(model).forward_features(model, *given, **named)


class Patch:
    """A method of a class that is doubled until it is removed."""

    def __init__(self, kind: type, name: str) -> None:
        self.kind, self.name, self.before = kind, name, vars(kind)[name]
        setattr(kind, name, lambda module, *given, **named: 2 * self.before(module, *given, **named))

    def remove(self) -> None:
        setattr(self.kind, self.name, self.before)


def other_weight(model: Any) -> None:
    model.blocks[0].mlp.fc1.weight = nn.Parameter(torch.ones_like(model.blocks[0].mlp.fc1.weight))


Change = Callable[[Any], Any]
REFUSED: dict[str, tuple[Change, str]] = {
    "swapped blocks": (swap, "blocks.0 is another Block; blocks.1 is another Block"),
    "another part": (lambda m: setattr(m.blocks[0], "mlp", nn.Identity()), "blocks.0.mlp is another Identity"),
    "a hook": (lambda m: m.blocks[1].register_forward_hook(twice), "blocks.1 has a new forward hook"),
    "a pre-hook": (
        lambda m: m.blocks[1].mlp.register_forward_pre_hook(lambda module, given: (2 * given[0],)),
        "blocks.1.mlp has a new forward pre-hook",
    ),
    "a hook of all": (lambda m: nn.modules.module.register_module_forward_hook(twice_linear), "hook of all modules"),
    "another weight": (other_weight, "blocks.0.mlp.fc1.weight is another tensor"),
    "another format": (lambda m: m.float(), "cls_token is now .* in torch.float32"),
    "another setting": (lambda m: setattr(m.norm, "eps", 0.5), "norm has eps = 0.5"),
    "another forward": (
        lambda m: setattr(m.blocks[0].mlp, "forward", torch.zeros_like),
        "blocks.0.mlp has another forward",
    ),
    "another method": (twice_features, "the model has another forward_features"),
    "another method of the class": (lambda m: Patch(type(m.blocks[0]), "forward"), "Block has another forward"),
    "another method of a base class": (
        lambda m: Patch(VisionTransformer, "forward_features"),
        "VisionTransformer has another forward_features",
    ),
    "pruned": (lambda m: prune.l1_unstructured(m.blocks[0].mlp.fc1, "weight", 0.5) and None, "fc1"),
    "parametrized": (lambda m: parametrizations.spectral_norm(m.blocks[0].mlp.fc1) and None, "fc1"),
}
FOLLOWED: dict[str, Change] = {
    "a step": lambda m: [p.mul_(1.1) for p in m.parameters()],
    "data": lambda m: m.blocks[0].mlp.fc1.weight.data.mul_(3),
    "other data": lambda m: setattr(m.norm.weight, "data", torch.rand_like(m.norm.weight)),
    "a state": lambda m: m.load_state_dict({k: v + 0.1 for k, v in m.state_dict().items()}),
    "training": lambda m: m.train(),
}


@pytest.mark.parametrize("name", REFUSED)
def test_another_function_is_refused(name: str, model: Any) -> None:
    change, message = REFUSED[name]
    decomposer = vd.Decomposer(model).fit(IMAGES)
    before = decomposer.transform(IMAGES).values
    handle = change(model)
    try:
        for call in (
            lambda: decomposer.transform(IMAGES),
            lambda: decomposer.represent(IMAGES),
            lambda: decomposer.attribute(IMAGES, torch.ones(1, 24, dtype=torch.float64)),
            lambda: decomposer.subset(decomposer.components_[:1]),
        ):
            with pytest.raises(vd.TraceError, match=f"changed since fit .*{message}.*call fit again"):
                call()
        images = IMAGES.to(next(model.parameters()).dtype)
        anew = decomposer.fit(images).transform(images)  # which says how it is now
        torch.testing.assert_close(anew.total(), model(images).detach())
        assert name == "another format" or not torch.equal(anew.total(), before.sum(1))
    finally:
        if hasattr(handle, "remove"):
            handle.remove()


@pytest.mark.parametrize("name", FOLLOWED)
def test_weights_are_followed(name: str, model: Any) -> None:
    decomposer = vd.Decomposer(model).fit(IMAGES)
    origin, before = decomposer.origin_, decomposer.transform(IMAGES)
    with torch.no_grad():
        FOLLOWED[name](model)
    after = decomposer.transform(IMAGES)
    torch.testing.assert_close(after.total(), model.eval()(IMAGES).detach())
    changed = name != "training"
    assert (after.origin != origin) == changed
    assert torch.equal(after.values, before.values) != changed


def test_a_path_that_zeros_had_closed(model: Any) -> None:
    with torch.no_grad():
        model.blocks[0].mlp.fc2.weight.zero_()
    decomposer = vd.Decomposer(model).fit(IMAGES)
    with torch.no_grad():
        model.blocks[0].mlp.fc2.weight.add_(0.1)
    found = decomposer.attribute(IMAGES, torch.ones(1, 24, dtype=torch.float64)).sum(-1)[:, 0]
    torch.testing.assert_close(found, model(IMAGES).detach().sum(-1))


def test_what_counts_operations_looks_on(model: Any) -> None:
    decomposer = vd.Decomposer(model).fit(IMAGES)
    before = decomposer.transform(IMAGES).values
    for call in (decomposer.transform, decomposer.fit_transform):
        with FlopCounterMode(display=False) as counter:
            assert torch.equal(call(IMAGES).values, before)
        assert counter.get_total_flops() > 0


def test_a_hook_that_only_looks_is_no_change(model: Any) -> None:
    decomposer = vd.Decomposer(model).fit(IMAGES)
    before, seen = decomposer.transform(IMAGES).values, []
    model.blocks[0].register_forward_hook(lambda module, given, found: seen.append(found))
    model.note = "a remark"
    assert torch.equal(decomposer.transform(IMAGES).values, before)
    times = len(seen)
    decomposer.transform(IMAGES)
    assert len(seen) == times  # the model is not asked again


def test_hooks_of_before_are_part_of_the_model(model: Any) -> None:
    model.blocks[1].register_forward_hook(twice)
    found = vd.Decomposer(model).fit(IMAGES).transform(IMAGES)
    torch.testing.assert_close(found.total(), model(IMAGES).detach())


def test_what_is_not_used_may_change(model: Any) -> None:
    decomposer = vd.Decomposer(model).fit(IMAGES)
    model.head = nn.Linear(24, 3).double()
    assert decomposer.transform(IMAGES).error.max() < 1e-12
