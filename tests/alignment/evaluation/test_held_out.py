"""Held out means held out: where the targets are noise, no figure says that anything was learned."""

import pytest
import torch
from vitdecomp_alignment import ClosedForm, CompAlign, LinearAlign
from vitdecomp_alignment.evaluation.held_out import FEWEST, VERDICTS, HeldOut, halves, measure, split_held_out

from vitdecomp.sources.selection import select_images
from vitdecomp.testing import AlignerContract

N = 400


def pairs(noise):
    """Contributions, and targets that follow from them or that know nothing of them."""
    c = AlignerContract().contributions(N)
    target = AlignerContract().target(c)
    return c, torch.randn(target.shape, generator=torch.Generator().manual_seed(9)) if noise else target


@pytest.mark.parametrize("init", ["closed_form", "random"])
@pytest.mark.parametrize("kind", [CompAlign, LinearAlign])
def test_what_is_held_out_of_a_training_is_not_learned_from(kind, init):
    c, noise = pairs(noise=True)
    fitted = kind(init=init, epochs=2, validation_fraction=0.2).fit(c, noise)
    assert fitted.metrics_["validation_distance"] > 0.9
    assert min(row["distance"] for row in fitted.history_) > 0.9  # the maps that it begins with, too
    c, target = pairs(noise=False)
    assert kind(init="closed_form", epochs=2).fit(c, target).metrics_["validation_distance"] < 0.1


def test_all_images_are_learned_from_where_none_is_held_out():
    c, target = pairs(noise=False)
    whole = CompAlign(validation_fraction=0.0, learning_rate=1e-12, epochs=1).fit(c, target)
    solved = ClosedForm().fit(c, target)
    assert torch.allclose(whole.weights_, solved.weights_, atol=1e-6)


@pytest.mark.parametrize("kind", [CompAlign, LinearAlign, ClosedForm])
def test_noise_is_worth_no_more_than_one_vector(kind):
    for noise in (True, False):
        c, target = pairs(noise)
        learned, held_out = halves(N, 0.2, 0)
        aligner = kind().fit(select_images(c, learned), target[list(learned)])
        found = measure(aligner, c, target, learned, held_out)
        assert found.images == 80
        assert found.shuffled > 0.8
        if noise:
            assert found.distance > 0.9 * found.constant
            assert "next to nothing" in found.verdict
        else:
            assert found.distance < 0.2 * found.constant
            assert "fit to compare" in found.verdict


def test_there_is_a_verdict_for_every_figure():
    words = [HeldOut(10, distance / 10, 1.0, 1.0).verdict for distance in range(25)]
    assert {sentence.partition(" (")[0] for sentence in words} == {words for _, words in VERDICTS}
    assert HeldOut(10, 0.0, 0.0, 0.0).verdict  # all vectors alike


def test_halves_share_no_image_and_leave_none_out():
    learned, held_out = halves(50, 0.2, 1)
    assert len(held_out) == 10
    assert sorted(learned + held_out) == list(range(50))
    assert halves(50, 0.2, 1) == (learned, held_out) != halves(50, 0.2, 2)
    assert len(halves(50, 0.2, 1, most=4)[1]) == 4


def test_two_images_at_least_judge_maps():
    counts = {n: [len(part) for part in split_held_out(n)] for n in (2, FEWEST - 1, FEWEST, 14, 400)}
    assert counts == {2: [2, 0], FEWEST - 1: [9, 0], FEWEST: [8, 2], 14: [12, 2], 400: [360, 40]}
