"""Randomization: the model is not touched, the parts come from the top, and what looks at no weight is found out."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from helpers import pictures
from torch import Tensor, nn

from vitdecomp import InputError
from vitdecomp.metrics import Randomization, randomized, spearman, ssim, stages_of

IMAGES = pictures(3, 16)
STAGES = ("head", "norm", "blocks.1", "blocks.0", "patch_embed.proj", "pos_embed", "cls_token")


def gradient(model: nn.Module, images: Tensor, rows: Tensor) -> Tensor:
    """Gradient of one class, times the image, summed over the channels."""
    x = images.clone().requires_grad_()
    (found,) = torch.autograd.grad(model(x)[torch.arange(len(x)), rows].sum(), x)
    return (found * images).sum(1)


def edges(model: nn.Module, images: Tensor, rows: Tensor) -> Tensor:
    """Stand for a map that does not look at the model."""
    return images.diff(dim=2, append=images[:, :, -1:]).abs().sum(1)


def test_parts_are_blocks_and_what_stands_outside_from_the_last_to_the_first(classifier: nn.Module) -> None:
    assert stages_of(classifier) == STAGES
    names = stages_of(
        nn.ModuleDict({"layers": nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), "out": nn.Linear(2, 1)})
    )
    assert names == ("out", "layers.1", "layers.0")


def test_maps_that_need_the_weights_change_and_edges_do_not(classifier: nn.Module) -> None:
    found = Randomization()(gradient, classifier, IMAGES)
    assert found.stages == STAGES
    assert found.spearman.shape == found.ssim.shape == (7, 3)
    assert (found.spearman[-1].abs() < 0.4).all()
    fixed = Randomization()(edges, classifier, IMAGES)
    assert torch.allclose(fixed.spearman, torch.ones(7, 3, dtype=torch.float64))
    assert torch.allclose(fixed.ssim, torch.ones(7, 3, dtype=torch.float64))


def test_it_is_its_definition(classifier: nn.Module) -> None:
    """Each stage keeps what was randomized before it, and the maps are compared with the model's own."""
    twins = []

    def explain(model: nn.Module, images: Tensor, rows: Tensor) -> Tensor:
        twins.append(copy.deepcopy(model))
        return gradient(model, images, rows)

    found = Randomization()(explain, classifier, IMAGES)
    assert len(twins) == 8
    own = gradient(classifier, IMAGES, torch.arange(3))
    before = dict(classifier.named_parameters())
    for stage, (name, twin) in enumerate(zip(STAGES, twins[1:], strict=True)):
        after = dict(twin.named_parameters())
        changed = {p for p in before if not torch.equal(before[p], after[p])}
        assert changed == {p for p in before if p.startswith(STAGES[: stage + 1])}, name
        maps = gradient(twin, IMAGES, torch.arange(3))
        assert torch.equal(found.spearman[stage], spearman(own, maps))
        assert torch.equal(found.ssim[stage], ssim(own, maps))


def test_weights_keep_their_mean_and_spread_and_what_is_constant_stays() -> None:
    twins = []

    def explain(model: nn.Module, images: Tensor, rows: Tensor) -> Tensor:
        twins.append(copy.deepcopy(model))
        return images.sum(1)

    model = nn.Sequential(nn.Linear(100, 100), nn.LayerNorm(100))
    with torch.no_grad():
        model[0].weight.mul_(3).add_(2)
    Randomization()(explain, model, IMAGES.float())
    was, now = model[0].weight.detach(), twins[-1][0].weight.detach()
    assert now.mean() == pytest.approx(float(was.mean()), abs=0.01)
    assert now.std() == pytest.approx(float(was.std()), abs=0.01)
    assert abs(torch.corrcoef(torch.stack([was.flatten(), now.flatten()]))[0, 1]) < 0.05
    assert torch.equal(model[1].weight, twins[-1][1].weight)


def test_the_model_and_the_random_state_stay_and_the_seed_decides(classifier: nn.Module) -> None:
    weights = {name: value.clone() for name, value in classifier.state_dict().items()}
    seen, state = [], torch.get_rng_state()

    def explain(model: nn.Module, images: Tensor, rows: Tensor) -> Tensor:
        seen.append(model)
        return gradient(model, images, rows)

    first = Randomization()(explain, classifier, IMAGES)
    assert seen[0] is classifier
    assert all(model is not classifier for model in seen[1:])
    assert all(torch.equal(value, weights[name]) for name, value in classifier.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in classifier.parameters())
    assert torch.equal(state, torch.get_rng_state())
    again, other = Randomization()(gradient, classifier, IMAGES), Randomization(seed=1)(gradient, classifier, IMAGES)
    assert torch.equal(first.spearman, again.spearman)
    assert not torch.allclose(first.spearman, other.spearman, atol=1e-3)


def test_a_copy_with_all_parameters_random_is_what_the_last_stage_leaves(classifier: nn.Module) -> None:
    before = copy.deepcopy(classifier.state_dict())
    twin = randomized(classifier, seed=4)
    own, found = (gradient(model, IMAGES, torch.arange(3)) for model in (classifier, twin))
    whole = Randomization(seed=4)(gradient, classifier, IMAGES)
    assert torch.equal(spearman(own, found), whole.spearman[-1])
    assert torch.equal(ssim(own, found), whole.ssim[-1])
    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())


def test_batches_change_nothing_and_tell_which_image_is_which(classifier: nn.Module) -> None:
    whole, parts = (Randomization(batch_size=size)(gradient, classifier, IMAGES) for size in (64, 2))
    assert torch.allclose(whole.spearman, parts.spearman, rtol=0, atol=1e-6)
    assert torch.allclose(whole.ssim, parts.ssim, rtol=0, atol=1e-9)


def test_stages_may_be_given_and_one_without_parameters_is_refused(classifier: nn.Module) -> None:
    found = Randomization(stages=("blocks.0.attn", "cls_token"))(gradient, classifier, IMAGES)
    assert found.spearman.shape == (2, 3)
    with pytest.raises(InputError, match=r"no parameters at stage 'block.1'; did you mean blocks.1"):
        Randomization(stages=("head", "block.1"))(gradient, classifier, IMAGES)
    with pytest.raises(InputError, match=r"no parameters at stage 'head.we'"):
        Randomization(stages=("head.we",))(gradient, classifier, IMAGES)
    with pytest.raises(InputError, match="no stages to randomize"):
        Randomization(stages=())(gradient, classifier, IMAGES)
    with pytest.raises(InputError, match="the model has no parameters"):
        Randomization()(edges, nn.Identity(), IMAGES)


@pytest.mark.parametrize(
    ("explain", "message"),
    [(lambda m, x, rows: x, r"the maps of 3 images are \(3, 3, 16, 16\)"),
     (lambda m, x, rows: x.argmax(1), "in torch.int64: give"),
     (lambda m, x, rows: x[:, 0] * torch.nan, "maps: NaN or infinity")],
)  # fmt: skip
def test_maps_that_are_none_are_refused(explain: Any, message: str, classifier: nn.Module) -> None:
    with pytest.raises(InputError, match=message):
        Randomization()(explain, classifier, IMAGES)
