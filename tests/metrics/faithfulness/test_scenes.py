"""On a trained model, whose pictures come with masks of the object, the measures tell the object from noise."""

from __future__ import annotations

from dataclasses import replace

import pytest
import timm
import torch
import vitdecomp_adapters.scenes.architectures  # noqa: F401  registers the model with timm
from torch import Tensor

from vitdecomp.metrics import FAITHFULNESS, Perturbation
from vitdecomp.scenes import SceneDataset

N = 12


@pytest.fixture(scope="module")
def scenes() -> tuple[Tensor, Tensor]:
    """Images from -1 to 1, as the model takes them, and masks of their objects."""
    samples = [SceneDataset(N, seed=5, split="test").sample(i) for i in range(N)]
    images = torch.stack([torch.tensor(s.image).permute(2, 0, 1) / 127.5 - 1 for s in samples])
    return images, torch.stack([torch.tensor(s.mask).float() for s in samples])


@pytest.mark.parametrize("name", FAITHFULNESS)
def test_the_object_beats_noise_and_noise_has_its_control_value(name: str, scenes: tuple[Tensor, Tensor]) -> None:
    images, masks = scenes
    model = timm.create_model("scenes_deit", pretrained=True).eval()
    with torch.no_grad():
        classes = model(images).argmax(1)

    def score(x: Tensor, rows: Tensor) -> Tensor:
        return model(x).softmax(1).gather(1, classes[rows, None])[:, 0]

    measure = FAITHFULNESS[name]
    if isinstance(measure, Perturbation):
        measure = replace(measure, fill=-1.0)
    noise = torch.rand(masks.shape, generator=torch.Generator().manual_seed(0))
    found, random = (measure(score, images, maps) for maps in (masks + 0.01 * noise, noise))
    better = found > random if measure.higher_is_better else found < random
    assert better.float().mean() >= 0.75
    assert (found.mean() > random.mean()) == measure.higher_is_better
    if name == "road":
        assert abs(random.mean()) < 0.05
