"""All aligners keep the contract, and know the truth where there is one."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone
from vitdecomp_alignment import ClosedForm, CompAlign, LinearAlign, LinearMaps
from vitdecomp_alignment.aligners.maps import Span
from vitdecomp_alignment.aligners.penalty import frobenius

from vitdecomp import VitdecompError
from vitdecomp.component import Component
from vitdecomp.contributions import Contributions
from vitdecomp.sources.aligner import ALIGNERS, aligners
from vitdecomp.testing import AlignerContract

GOLDEN = np.load(Path(__file__).parents[2] / "golden" / "compalign.npz")
FEW = 1e-5
pytestmark = pytest.mark.xdist_group("aligners")  # which the contract fits once


class TestCompAlign(AlignerContract):
    def make(self):
        return CompAlign(epochs=5)


class TestCompAlignFromNothing(AlignerContract):
    def make(self):
        return CompAlign(init="random", learning_rate=0.01, epochs=40)


class TestCompAlignInFull(AlignerContract):
    def make(self):
        return CompAlign(init="random", coordinates="full", learning_rate=0.01, epochs=40, bias=True)


class TestCompAlignHard(AlignerContract):
    def make(self):
        return CompAlign(orthogonality="hard", learning_rate=0.003, epochs=20)


class TestLinearAlign(AlignerContract):
    def make(self):
        return LinearAlign(epochs=5)


class TestClosedForm(AlignerContract):
    def make(self):
        return ClosedForm()


EVERY = [CompAlign(epochs=2), LinearAlign(epochs=2), ClosedForm()]


def made(n=400, seed=0):
    return AlignerContract().contributions(n, seed)


def target(c):
    return AlignerContract().target(c)


@pytest.mark.parametrize("run", ["paper", "noorth_lr1e-2"])
def test_the_published_training(run):
    settings = json.loads(str(GOLDEN[f"{run}/kwargs_json"]))
    components = tuple(Component(f"c{i}", "attn") for i in range(5))
    values, goal, start, bias = (
        torch.from_numpy(GOLDEN[key])
        for key in ("components", "clip_features", f"{run}/init_weights", f"{run}/init_bias")
    )
    c = Contributions(values.transpose(0, 1).contiguous(), components, torch.zeros(96, dtype=torch.float64))
    aligner = CompAlign(
        orthogonality=float(settings["orthonormalize"]),
        penalty="mean_square",
        bias=True,
        init=LinearMaps(components, torch.zeros(12, 8), (Span(torch.arange(5)),), (start,), bias),
        learning_rate=settings["lr"],
        batch_size=int(GOLDEN["batch_size"]),
        epochs=settings["epochs"],
        validation_fraction=0.0,
        shuffle=False,
    ).fit(c, goal)
    assert torch.allclose(aligner.weights_, torch.from_numpy(GOLDEN[f"{run}/final_weights"]), atol=FEW)
    assert torch.allclose(aligner.maps_.bias, torch.from_numpy(GOLDEN[f"{run}/final_bias"]), atol=FEW)
    aligned = aligner.transform(c)
    assert aligned.components[-1].is_constant
    parts = torch.from_numpy(GOLDEN[f"{run}/aligned_components"]).transpose(0, 1)  # each with a fifth of the bias
    assert torch.allclose(aligned.values[:, :-1] + aligner.maps_.bias / 5, parts, atol=1e-4)
    assert torch.allclose(aligned.total(), torch.from_numpy(GOLDEN[f"{run}/aligned_sum"]), atol=1e-4)


@pytest.mark.parametrize("aligner", EVERY, ids=lambda a: type(a).__name__)
def test_a_model_aligned_with_itself_stays_as_it_is(aligner):
    c = made()
    aligned = clone(aligner).fit(c, c.total()).transform(c)
    assert torch.allclose(aligned.values, c.values, atol=1e-4)


@pytest.mark.parametrize("aligner", EVERY, ids=lambda a: type(a).__name__)
def test_vectors_of_other_images_teach_nothing(aligner):
    c, new = made(), made(200, seed=5)
    apart = replace(c, values=c.values - c.values.mean(0)), replace(new, values=new.values - new.values.mean(0))
    shuffled = target(apart[0])[torch.randperm(len(c), generator=torch.Generator().manual_seed(0))]
    assert clone(aligner).fit(apart[0], target(apart[0])).score(apart[1], target(apart[1])) > 0.9
    assert abs(clone(aligner).fit(apart[0], shuffled).score(apart[1], target(apart[1]))) < 0.35


@pytest.mark.parametrize("aligner", EVERY, ids=lambda a: type(a).__name__)
def test_scikit_learn_manners(aligner):
    copy = clone(aligner)
    assert copy.get_params() == aligner.get_params()
    c = made()
    copy.fit(c, target(c))
    assert not [name for name in vars(clone(copy)) if name.endswith("_")]
    assert copy.components_ == c.components
    assert copy.weights_.shape == (4, 12, 8)
    cosines = torch.cosine_similarity(copy.transform(c).total(), target(c), dim=1)
    assert copy.score(c, target(c)) == pytest.approx(float(cosines.mean()), abs=1e-5)


def test_aligners_are_known_by_name():
    assert {"compalign", "linear", "closed-form"} <= {*aligners()}
    assert ALIGNERS["compalign"] is CompAlign
    with pytest.raises(VitdecompError, match="did you mean compalign"):
        aligners()["companion"]


def test_hard_maps_are_orthogonal_in_what_each_component_spans():
    c = made()
    aligner = CompAlign(orthogonality="hard", epochs=3).fit(c, target(c))
    for weight in aligner.maps_.within():
        gram = weight @ weight.mT if weight.shape[1] <= weight.shape[2] else weight.mT @ weight
        assert torch.allclose(gram, torch.eye(gram.shape[1]).expand_as(gram), atol=1e-5)
    assert aligner.metrics_["orthogonality"] < FEW


def test_a_greater_penalty_gives_more_orthogonal_maps():
    c = made()
    settings = {"init": "random", "learning_rate": 0.01, "epochs": 10, "validation_fraction": 0.0}
    fits = [CompAlign(orthogonality=o, **settings).fit(c, target(c)) for o in (0.0, 0.01, 1.0)]
    found = [float(frobenius(aligner.maps_.within())) for aligner in fits]
    assert found[0] > found[1] > found[2]


def test_the_loss_is_what_the_words_say():
    c = made(64)
    goal = target(c)
    for penalty, expected in (("frobenius", lambda g: g.norm()), ("mean_square", lambda g: 8 * (g**2).mean() / 4)):
        aligner = CompAlign(
            orthogonality=0.3, penalty=penalty, init="random", coordinates="full", batch_size=64, epochs=1,
            validation_fraction=0.0, learning_rate=1e-12,
        ).fit(c, goal)  # fmt: skip
        maps = aligner.weights_
        total = sum(c.values[:, i] @ maps[i] for i in range(4))
        distance = 1 - torch.cosine_similarity(total, goal, dim=1).mean()
        apart = sum(expected(w.T @ w - torch.eye(8)) for w in maps)
        assert aligner.history_[0]["loss"] == pytest.approx(float(distance + 0.3 * apart), rel=1e-4)


def test_own_coordinates_lose_nothing():
    c = made()
    for init in ("closed_form", "random"):
        maps = CompAlign(init=init, epochs=1).fit(c, target(c)).maps_
        heads = next(s for s in maps.spans if 0 in s.rows.tolist())
        assert heads.basis.shape[2] == 4  # rank three, in the next power of two
        full = torch.einsum("ncd,cdm->ncm", c.values, maps.dense())
        assert torch.allclose(maps(c).values, full, atol=1e-4)
        assert torch.allclose(maps.total(c.values), full.sum(1), atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"penalty": "frobenus"}, "did you mean frobenius"),
        ({"init": "closed"}, "did you mean closed_form"),
        ({"coordinates": "mine"}, "own, full"),
        ({"orthogonality": -1.0}, "0 or more, or 'hard'"),
        ({"orthogonality": "soft"}, "0 or more, or 'hard'"),
        ({"epochs": 0}, "1 or more"),
        ({"validation_fraction": 1.0}, "below 1"),
    ],
)
def test_settings_that_mean_nothing(settings, message):
    c = made(20)
    with pytest.raises(VitdecompError, match=message):
        CompAlign().set_params(**settings).fit(c, target(c))


def test_targets_that_cannot_be_learned_from():
    c = made(20)
    for goal in (target(c)[:, 0], torch.full((20, 8), torch.nan), target(c)[1:]):
        with pytest.raises(VitdecompError, match="target"):
            ClosedForm().fit(c, goal)
    with pytest.raises(VitdecompError, match="two images"):
        ClosedForm().fit(c.take([0]), target(c)[:1])
    with pytest.raises(VitdecompError, match="ridge must be positive"):
        ClosedForm(ridge=0.0).fit(c, target(c))
    with pytest.raises(VitdecompError, match="max_rank must be 1 or more"):
        ClosedForm(max_rank=0).fit(c, target(c))
