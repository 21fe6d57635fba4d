"""What a user has set in torch changes no result, and is as it was afterwards."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
import torch
from helpers import pictures, randomised
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

import vitdecomp as vd


@contextmanager
def default(name: str, value: Any) -> Iterator[None]:
    before = getattr(torch, f"get_default_{name}")()
    getattr(torch, f"set_default_{name}")(value)
    try:
        yield
        assert getattr(torch, f"get_default_{name}")() == value
    finally:
        getattr(torch, f"set_default_{name}")(before)


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


Mode = Callable[[], AbstractContextManager[Any]]
MODES: dict[str, Mode] = {
    "inference": torch.inference_mode,
    "no grad": torch.no_grad,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "meta context": lambda: torch.device("meta"),
    "meta device": lambda: default("device", torch.device("meta")),
    "float64": lambda: default("dtype", torch.float64),
    "bfloat16": lambda: default("dtype", torch.bfloat16),
    "deterministic": deterministic,
}


@pytest.fixture(scope="module")
def model() -> nn.Module:
    sizes: dict[str, Any] = {"img_size": 16, "patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 3}
    return randomised(VisionTransformer(**sizes, num_classes=0)).float()


IMAGES, DIRECTIONS = pictures(3, 16).float(), torch.randn(1, 24, generator=torch.Generator().manual_seed(0))


def results(decomposer: vd.Decomposer, images: Tensor = IMAGES) -> list[Tensor]:
    c = decomposer.transform(images)
    swept = [decomposer.attribute(images, DIRECTIONS, by=by) for by in ("head", "token")]
    return [c.values, c.error, decomposer.represent(images), *swept]


@pytest.fixture(scope="module")
def plain(model: nn.Module) -> list[Tensor]:
    return results(vd.Decomposer(model, cache=None).fit(IMAGES))


def assert_same(found: list[Tensor], expected: list[Tensor]) -> None:
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        assert torch.equal(a, b)
        assert not a.requires_grad
        assert not a.is_inference()


@pytest.mark.parametrize("name", MODES)
def test_a_mode_around_everything(name: str, model: nn.Module, plain: list[Tensor]) -> None:
    with MODES[name]():
        found = results(vd.Decomposer(model, cache=None).fit(IMAGES))
    assert_same(found, plain)


@pytest.mark.parametrize("name", MODES)
def test_a_mode_around_each_method(name: str, model: nn.Module, plain: list[Tensor]) -> None:
    decomposer = vd.Decomposer(model).fit(IMAGES)
    with MODES[name]():
        assert_same(results(decomposer), plain)


def test_the_modes_do_change_the_model(model: nn.Module) -> None:
    """What these tests would be worth nothing without."""
    truth = model(IMAGES)
    with MODES["autocast"]():
        assert not torch.equal(model(IMAGES), truth)
    with MODES["inference"]():
        assert model(IMAGES).is_inference()
    with MODES["meta context"]():
        assert torch.zeros(1).is_meta


def test_images_of_other_kinds(model: nn.Module, plain: list[Tensor]) -> None:
    from torchvision import tv_tensors

    with torch.inference_mode():
        inference = IMAGES.clone()
    for images in (inference, IMAGES.clone().requires_grad_(), tv_tensors.Image(IMAGES), nn.Parameter(IMAGES)):
        decomposer = vd.Decomposer(model).fit(images)
        assert_same(results(decomposer, images), plain)
        assert type(decomposer.represent(images)) is Tensor


def test_weights_made_in_inference_mode(model: nn.Module) -> None:
    with torch.inference_mode():
        made = copy.deepcopy(model)
    with pytest.raises(vd.InputError, match=r"made inside torch.inference_mode\(\).*deepcopy"):
        vd.Decomposer(made).fit(IMAGES)
    assert vd.Decomposer(copy.deepcopy(made)).fit(IMAGES).report_.exact
    with torch.inference_mode():
        loaded = vd.load_model("timm:test_vit", pretrained=False)
    assert not any(p.is_inference() for p in loaded.module.parameters())


def test_fits_in_threads_are_as_one_after_the_other() -> None:
    sizes: dict[str, Any] = {"img_size": 16, "patch_size": 8, "embed_dim": 24, "num_heads": 3, "num_classes": 0}
    models = [randomised(VisionTransformer(**sizes, depth=depth)) for depth in (1, 2, 1)]
    images = pictures(2, 16)
    serial = [vd.Decomposer(m, cache=None).fit_transform(images).values for m in models]
    found: dict[int, Tensor] = {}

    def work(i: int) -> None:
        found[i] = vd.Decomposer(models[i], cache=None).fit_transform(images).values

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(models))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(found[i], serial[i]) for i in range(len(models)))
