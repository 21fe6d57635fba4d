"""Methods of other packages: on their own way through the model's module, and by formulas that are written out."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import pytorch_grad_cam
import torch
from families import case
from pytorch_grad_cam.utils.image import scale_cam_image
from torch import Tensor, nn

import vitdecomp as vd
from vitdecomp.heatmaps.explainer import EXPLAINERS
from vitdecomp.heatmaps.methods.cams import Cam
from vitdecomp.heatmaps.target_layer import TargetLayer

NAME = "vit_cls"
CAMS = [name for name in vd.explainers() if issubclass(EXPLAINERS[name], Cam)]


def direction() -> Tensor:
    return torch.randn(48, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


def patches(x: Tensor) -> Tensor:
    return x[:, 1:].mT.unflatten(2, (4, 4))


@pytest.mark.xdist_group(NAME)
@pytest.mark.parametrize("method", CAMS)
def test_maps_are_those_of_the_package_on_the_module(method: str) -> None:
    """With hooks on the norm that its documentation recommends, and its scaling of layers and of their mean."""
    known, q = case(NAME), direction()
    kind = getattr(pytorch_grad_cam, EXPLAINERS[method].kind)
    with kind(known.module, [known.module.blocks[-1].norm1], patches) as cam:
        expected = cam(known.images, [lambda output: output @ q] * 4)
    known.module.zero_grad()
    found = vd.explain(known.decomposer, known.images, q[None], method).grid[:, 0]
    assert float(found.amax((1, 2)).min()) > 0
    scaled = scale_cam_image(scale_cam_image(found.numpy(), (32, 32)))
    np.testing.assert_allclose(scaled, expected, atol=2e-5)


@pytest.mark.xdist_group(NAME)
def test_another_layer() -> None:
    known, q = case(NAME), direction()
    found = vd.explain(known.decomposer, known.images, q[None], "hirescam", layer="blocks.0").grid[:, 0]
    x = known.module.blocks[0](known.module._pos_embed(known.module.patch_embed(known.images))).detach()
    x.requires_grad_()
    output = known.module.norm(known.module.blocks[2](known.module.blocks[1](x)))[:, 0]
    (gradient,) = torch.autograd.grad((output @ q).sum(), x)
    expected = patches((gradient * x).detach()).sum(1).clamp_min(0)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.xdist_group(NAME)
@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("blocks.2.nrm1", "no module 'blocks.2.nrm1' on the way to the representation; did you mean blocks.2.norm1"),
        ("blocks.2.attn.proj", None),
        ("fc_norm", "no module 'fc_norm'"),
    ],
)
def test_layers_by_name(layer: str, message: str | None) -> None:
    known, q = case(NAME), direction()[None]
    if message is None:
        assert vd.explain(known.decomposer, known.images, q, "gradcam", layer=layer).grid.shape == (4, 1, 4, 4)
        return
    with pytest.raises(vd.SpecError, match=message):
        vd.explain(known.decomposer, known.images, q, "gradcam", layer=layer)


class Convolutions(nn.Module):
    """A plain network without attention; its pooled vector has no place in the image."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.more = nn.Conv2d(3, 6, 4, 4), nn.Conv2d(6, 8, 3, padding=1)
        self.act, self.pool, self.head = nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        x = self.act(self.more(self.act(self.stem(images))))
        return self.head(self.pool(x).flatten(1))


def test_the_last_grid_of_a_model_without_attention() -> None:
    torch.manual_seed(0)
    model = Convolutions().double()
    images, q = torch.randn(2, 3, 16, 24, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    x = model.act(model.more(model.act(model.stem(images)))).detach()
    expected = torch.einsum("nchw,c->nhw", x, q @ model.head.weight / 24).clamp_min(0)
    torch.testing.assert_close(vd.explain(model, images, q[None], "hirescam").grid[:, 0], expected.detach())
    with pytest.raises(vd.SpecError, match="no attention of this model"):
        vd.explain(model, images, q[None], "legrad")


@pytest.mark.xdist_group("swin")
def test_windows_are_put_back_in_place() -> None:
    """The last attention of Swin reads shifted windows: the grid of its norm is the same."""
    known = case("swin")
    target = TargetLayer.of(known.decomposer.views.captured, "layers.1.blocks.1.attn", None)
    assert (target.node.meta["trial_shape"][0], target.size) == (3 * 4, (8, 8))
    norm = TargetLayer.of(known.decomposer.views.captured, None, "layers.1.blocks.1.norm1")
    run, other = target.run(known.images), norm.run(known.images)
    torch.testing.assert_close(target.on_grid(run.value, 4), norm.on_grid(other.value, 4))
    q = torch.ones_like(run.output)
    torch.testing.assert_close(
        target.on_grid(run.gradient(q), 4), norm.on_grid(other.gradient(q), 4), rtol=1e-9, atol=1e-12
    )


@pytest.mark.xdist_group(NAME)
def test_gradients_are_integrated() -> None:
    known, q, steps, blank = case(NAME), direction(), 5, 0.3
    found = vd.explain(
        known.decomposer, known.images, q[None], "integrated-gradients", steps=steps, baseline=blank, pixels=True
    )
    points, weights = np.polynomial.legendre.leggauss(steps)
    expected = torch.zeros_like(known.images)
    for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
        x = (blank + point * (known.images - blank)).requires_grad_()
        expected += weight * torch.autograd.grad((known.module(x) @ q).sum(), x)[0] * (known.images - blank)
    torch.testing.assert_close(found.grid[:, 0], expected.sum(1), rtol=1e-4, atol=1e-5)
    audit = found.audit
    with torch.no_grad():
        torch.testing.assert_close(audit.constants, known.module(torch.full_like(known.images, blank)) @ q[:, None])
    total = found.grid.sum((-2, -1)) + audit.constants + audit.placeless + audit.residual
    torch.testing.assert_close(total, audit.score, rtol=1e-10, atol=1e-10)


@pytest.mark.xdist_group(NAME)
def test_more_steps_leave_less_out() -> None:
    known, q = case(NAME), direction()[None]
    residuals = [
        vd.explain(known.decomposer, known.images[:1], q, "integrated-gradients", steps=steps).residual.abs().max()
        for steps in (2, 64)
    ]
    assert residuals[1] < 0.02 * residuals[0]


@pytest.mark.xdist_group(NAME)
def test_squares_are_covered_one_after_another() -> None:
    known, q = case(NAME), torch.stack([direction(), -2 * direction().roll(1)])
    found = vd.explain(known.decomposer, known.images, q, "occlusion", window=16, step=8, baseline=0.5).grid
    with torch.no_grad():
        whole, fall, count = known.module(known.images) @ q.T, torch.zeros_like(found), torch.zeros(4, 4)
        for i in range(3):
            for j in range(3):
                covered = known.images.clone()
                covered[:, :, 8 * i : 8 * i + 16, 8 * j : 8 * j + 16] = 0.5
                fall[:, :, i : i + 2, j : j + 2] += (whole - known.module(covered) @ q.T)[..., None, None]
                count[i : i + 2, j : j + 2] += 1
    torch.testing.assert_close(found, fall / count, rtol=1e-4, atol=1e-4)


@pytest.mark.xdist_group(NAME)
@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("integrated-gradients", {"steps": 0}, "steps must be a positive number, not 0"),
        ("occlusion", {"step": 9, "window": 8}, "step at most the window, not 9 and 8"),
        ("occlusion", {"window": 0}, "must be positive, and step at most the window, not None and 0"),
    ],
)
def test_settings_that_are_refused(method: str, settings: dict[str, int], message: str) -> None:
    known = case(NAME)
    with pytest.raises(vd.SpecError, match=message):
        vd.explain(known.decomposer, known.images, direction()[None], method, **settings)


@pytest.mark.xdist_group(NAME)
@pytest.mark.parametrize(
    ("method", "module", "package"),
    [("gradcam", "pytorch_grad_cam", "grad-cam"), ("occlusion", "captum.attr", "captum")],
)
def test_a_package_that_is_not_installed(method: str, module: str, package: str, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    known = case(NAME)
    with pytest.raises(vd.LoadError) as error:
        vd.explain(known.decomposer, known.images, direction()[None], method)
    assert str(error.value) == f"{method} needs the package {package}: pip install 'vitdecomp[peers]'"
