"""What all measures promise: any batches, nothing touched, ties by the seed, errors that say what to do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from vitdecomp import InputError
from vitdecomp.metrics import FAITHFULNESS, Deletion, Perturbation, Road, SaCo, black
from vitdecomp.metrics.faithfulness.scoring import canvas, portions, ranks

MEASURES: dict[str, Any] = {
    name: replace(measure, step=16) if hasattr(measure, "step") else measure for name, measure in FAITHFULNESS.items()
}
MEASURES |= {name: replace(m, fill=(-2.0, -1.9, -1.8)) for name, m in MEASURES.items() if isinstance(m, Perturbation)}


@pytest.fixture(params=MEASURES)
def measure(request: pytest.FixtureRequest) -> Any:
    return MEASURES[request.param]


def test_five_images_are_five_times_one_image_in_batches_of_any_size(measure: Any, classified: Any) -> None:
    together = measure(*classified)
    alone = torch.cat([measure(*classified.one(i)) for i in range(5)])
    assert together.shape == (5,)
    assert torch.allclose(together, alone, rtol=0, atol=1e-10)
    assert torch.allclose(together, replace(measure, batch_size=7)(*classified), rtol=0, atol=1e-10)


def test_batches_are_as_large_as_allowed_and_carry_no_gradient(measure: Any, classified: Any) -> None:
    sizes = []

    def counting(x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        assert not torch.is_grad_enabled()
        sizes.append(len(x))
        return classified.score(x, rows)

    replace(measure, batch_size=13)(counting, classified.images, classified.maps)
    assert set(sizes[:-1]) == {13}
    assert sizes[-1] <= 13


def test_model_images_and_random_state_stay_as_they_are(measure: Any, classified: Any, classifier: nn.Module) -> None:
    weights = {name: value.clone() for name, value in classifier.state_dict().items()}
    images, maps, state = classified.images.clone(), classified.maps.clone(), torch.get_rng_state()
    first = measure(*classified)
    assert torch.equal(first, measure(*classified))
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(images, classified.images)
    assert torch.equal(maps, classified.maps)
    assert all(torch.equal(value, weights[name]) for name, value in classifier.state_dict().items())
    assert not classifier.training
    assert not first.requires_grad


def test_images_and_maps_may_have_a_history_and_half_precision(measure: Any, classified: Any) -> None:
    score, images, maps = classified
    expected = measure(*classified)
    with torch.enable_grad():
        found = measure(score, images.clone().requires_grad_(), maps.clone().requires_grad_())
    assert torch.equal(found, expected)
    coarse = measure(lambda x, rows: score(x.double(), rows).half(), images.half(), maps)
    assert coarse.dtype == torch.float32
    assert torch.allclose(coarse.double(), expected, rtol=0, atol=0.3 if isinstance(measure, SaCo) else 0.02)


def test_the_table_says_what_is_better() -> None:
    better = {name: measure.higher_is_better for name, measure in FAITHFULNESS.items()}
    assert [name for name, higher in better.items() if not higher] == ["deletion", "positive-perturbation"]


def test_better_means_that_the_true_map_beats_its_negative(measure: Any, additive: Any) -> None:
    score, images, maps = additive
    measure = replace(measure, fill=0.0) if hasattr(measure, "fill") else measure
    right, wrong = measure(score, images, maps).mean(), measure(score, images, -maps).mean()
    assert (right > wrong) == measure.higher_is_better


# Ranks


def test_ranks_are_those_of_the_values_largest_first() -> None:
    maps = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
    found = ranks(maps, 0).flatten(1)
    assert torch.equal(found, maps.flatten(1).argsort(1, descending=True).argsort(1))
    assert torch.equal(found, ranks(-maps, 0).flatten(1).neg() + 19)


def test_ties_are_broken_by_the_seed_and_not_by_the_order_of_pixels() -> None:
    flat = ranks(torch.zeros(4, 16, 16), 0)
    assert (flat == flat[0]).all()  # the other images of a batch say nothing
    assert torch.equal(flat[0].flatten().sort().values, torch.arange(256))
    drawn = torch.stack([ranks(torch.zeros(1, 16, 16), seed)[0] for seed in range(200)]).double()
    assert abs(drawn.mean(0) - 127.5).max() < 30  # four standard errors of 5.2 and a margin; raster order has 127.5
    above = ranks(torch.eye(16)[None].float(), 0)[0]
    assert set(above.diagonal().tolist()) == set(range(16))


# Errors


@pytest.mark.parametrize(
    ("shape", "message"),
    [((2, 8, 8), r"maps \(2, 8, 8\) do not fit images \(2, 3, 16, 16\): .*upsampled to \(2, 16, 16\)"),
     ((1, 16, 16), r"maps \(1, 16, 16\) do not fit")],
)  # fmt: skip
def test_maps_that_do_not_fit_are_refused(measure: Any, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        measure(lambda x, rows: x.mean((1, 2, 3)), torch.rand(2, 3, 16, 16), torch.rand(*shape))


def test_nan_is_refused_and_its_image_named(measure: Any) -> None:
    images, maps = torch.rand(3, 3, 16, 16), torch.rand(3, 16, 16)
    images[1, 0, 0, 0], maps[2, 3, 3] = torch.inf, torch.nan

    def score(x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return x.mean((1, 2, 3))

    with pytest.raises(InputError, match="images: NaN or infinity at image 1"):
        measure(score, images, torch.rand(3, 16, 16))
    with pytest.raises(InputError, match="maps: NaN or infinity at image 2"):
        measure(score, torch.rand(3, 3, 16, 16), maps)
    with pytest.raises(InputError, match="scores: NaN or infinity at image 0"):
        measure(lambda x, rows: score(x, rows) * torch.nan, torch.rand(3, 3, 16, 16), torch.rand(3, 16, 16))


def test_a_score_that_is_not_one_number_for_each_image_is_refused(measure: Any) -> None:
    given = torch.rand(2, 3, 16, 16), torch.rand(2, 16, 16)
    with pytest.raises(InputError, match=r"the score of \d+ images is \(\d+, 3\)"):
        measure(lambda x, rows: x.mean((2, 3)), *given)
    with pytest.raises(InputError, match=r"in torch.int64: give one number for each"):
        measure(lambda x, rows: rows, *given)


def test_no_images_and_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InputError, match="not empty"):
        Road()(lambda x, rows: x.mean((1, 2, 3)), torch.rand(0, 3, 4, 4), torch.rand(0, 4, 4))
    for wrong in [
        lambda: Deletion(step=0),
        lambda: Road(batch_size=0),
        lambda: Road(fractions=()),
        lambda: Road(fractions=(0.5, 1.0)),
        lambda: Road(noise=-1.0),
        lambda: SaCo(groups=1),
    ]:
        with pytest.raises(InputError):
            wrong()


# Fills


def test_black_is_zero_before_normalization() -> None:
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.25, 0.5)
    assert torch.allclose(torch.tensor(black(mean, std)) * torch.tensor(std) + torch.tensor(mean), torch.zeros(3))
    with pytest.raises(InputError, match="std positive"):
        black(mean, (0.2, 0.0, 0.5))
    with pytest.raises(InputError, match="one of each per channel"):
        black(mean, (0.2, 0.3))


def test_a_fill_has_one_number_or_one_for_each_channel() -> None:
    images = torch.rand(2, 3, 4, 4)
    assert torch.equal(canvas((1.0, 2.0, 3.0), images)[1, :, 3, 0], torch.tensor([1.0, 2.0, 3.0]))
    assert (canvas(0.5, images) == 0.5).all()
    with pytest.raises(InputError, match="fill has 2 numbers, but the images have 3 channels"):
        canvas((1.0, 2.0), images)


def test_portions_are_rounded_down_but_not_by_the_representation_of_a_tenth() -> None:
    assert portions([k / 10 for k in range(1, 10)], 10) == list(range(1, 10))
    assert portions([0.29], 100) == [29]
    assert portions([0.1, 0.9], 224 * 224) == [5017, 45158]
