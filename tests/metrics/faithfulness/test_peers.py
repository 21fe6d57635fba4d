"""Other packages' codes on the same images and maps, where they are installed: the extra `faithfulness-peers`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vitdecomp.metrics import Deletion, Road, Stability
from vitdecomp.metrics.faithfulness.imputation import linear_imputation
from vitdecomp.metrics.faithfulness.similarity import spearman, ssim

N, SIZE = 4, 30
NUMPY_2 = pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")  # grad-cam gives tensors to numpy


@pytest.fixture(scope="module")
def model() -> nn.Module:
    """Three classes, by a convolution, in single precision, for the peers convert to it."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 5, stride=2), nn.GELU(), nn.Flatten(), nn.Linear(1014, 3)).eval()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(N, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def maps() -> Tensor:
    return torch.rand(N, SIZE, SIZE, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def classes(model: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return model(images).argmax(1)


@pytest.fixture(scope="module")
def score(model: nn.Module, classes: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda x, rows: model(x).softmax(1).gather(1, classes[rows, None])[:, 0]


@NUMPY_2
def test_the_imputation_is_that_of_grad_cam(images: Tensor, maps: Tensor) -> None:
    road = pytest.importorskip("pytorch_grad_cam.metrics.road")
    imputer = road.NoisyLinearImputer(noise=0.0)
    for share in (0.2, 0.9):
        missing = maps < share
        expected = torch.stack([imputer(x, (~m).float()) for x, m in zip(images, missing, strict=True)])
        assert torch.allclose(linear_imputation(images, missing), expected, rtol=0, atol=1e-4)


@NUMPY_2
def test_road_is_that_of_grad_cam(
    model: Any, images: Tensor, classes: Tensor, score: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    road = pytest.importorskip("pytorch_grad_cam.metrics.road")
    x = images.clone().requires_grad_()
    maps = (torch.autograd.grad(score(x, torch.arange(N)).sum(), x)[0] * images).sum(1)
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)  # its noise is of the global source
    targets = [lambda output, c=int(c): output.softmax(0)[c] for c in classes]
    expected = road.ROADCombined()(images, maps.numpy(), targets, model)
    found = Road(noise=0.0)(score, images, maps)
    assert np.allclose(found, expected, rtol=0, atol=1e-4)
    assert expected.min() > 0.05


def test_deletion_is_pixel_flipping_of_quantus(
    model: Any, images: Tensor, maps: Tensor, classes: Tensor, score: Any
) -> None:
    quantus = pytest.importorskip("quantus")
    steps = 45
    flipping = quantus.PixelFlipping(  # which counts each channel of a pixel
        features_in_step=3 * SIZE * SIZE // steps, normalise=False, perturb_baseline=0.0, disable_warnings=True
    )
    given = {"x_batch": images.numpy(), "y_batch": classes.numpy(), "a_batch": maps[:, None].numpy()}
    found = flipping(model, **given, softmax=True, channel_first=True, device="cpu")
    with torch.no_grad():
        curve = torch.cat([score(images, torch.arange(N))[:, None], torch.tensor(found)], dim=1)
    expected = (curve[:, 1:] + curve[:, :-1]).sum(1) / 2 / steps
    found = Deletion(step=SIZE * SIZE // steps)(score, images, maps)
    assert torch.allclose(found, expected.float(), rtol=0, atol=1e-6)


def test_stability_is_the_largest_sensitivity_of_quantus(model: Any, images: Tensor, classes: Tensor) -> None:
    quantus = pytest.importorskip("quantus")
    noise = 0.2 * torch.randn(6, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    drawn = iter(noise.flatten(1).numpy())

    def explain(model: Any, inputs: np.ndarray, targets: np.ndarray, **_: Any) -> np.ndarray:
        x = torch.as_tensor(inputs).requires_grad_()
        (found,) = torch.autograd.grad(model(x)[torch.arange(len(x)), torch.as_tensor(targets)].sum(), x)
        return found.sum(1, keepdim=True).numpy()

    sensitivity = quantus.MaxSensitivity(
        nr_samples=6, perturb_func=lambda arr, **_: arr + next(drawn), disable_warnings=True
    )
    given = {"x_batch": images.numpy(), "y_batch": classes.numpy(), "explain_func": explain}
    expected = sensitivity(model, **given, channel_first=True, device="cpu")

    def maps(x: Tensor, rows: Tensor) -> Tensor:
        return torch.from_numpy(explain(model, x, classes[rows]))[:, 0]

    found = Stability(noise=0.2, draws=6)(maps, lambda x, rows: rows, images)
    assert np.allclose(found, expected, rtol=1e-4)


def test_similarity_by_rank_is_that_of_quantus(maps: Tensor) -> None:
    quantus = pytest.importorskip("quantus")
    other = (maps + maps.flip(1)).round(decimals=1)
    expected = quantus.similarity_func.correlation_spearman(
        maps.flatten(1).numpy(), other.flatten(1).numpy(), batched=True
    )
    assert np.allclose(spearman(maps, other), expected, rtol=0, atol=1e-5)


def test_structure_is_that_of_scikit_image(maps: Tensor) -> None:
    """`quantus` takes it from there, with another window."""
    metrics = pytest.importorskip("skimage.metrics")
    a = maps.double()
    b = a + a.flip(1)
    window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    x, y = (((m - m.amin((1, 2), True)) / (m.amax((1, 2), True) - m.amin((1, 2), True))).numpy() for m in (a, b))
    expected = [metrics.structural_similarity(one, two, **window) for one, two in zip(x, y, strict=True)]
    assert np.allclose(ssim(a, b), expected, rtol=0, atol=1e-9)
