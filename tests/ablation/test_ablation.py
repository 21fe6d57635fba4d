"""Ablator: what each replacement leaves, and what it takes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import Tensor
from vitdecomp_alignment import ClosedForm

import vitdecomp as vd
from vitdecomp.ablation.replacement import VALUES
from vitdecomp.provenance import Origin
from vitdecomp.sources.selection import Selection
from vitdecomp.testing import AlignerContract

PARTS = (
    vd.Component("embed", "embed"),
    vd.Component("b.0.attn.head.0", "attn", "b.0", "b.0.attn", head=0),
    vd.Component("b.0.attn.head.1", "attn", "b.0", "b.0.attn", head=1),
    vd.Component("b.0.mlp", "mlp", "b.0", "b.0.mlp"),
    vd.Component("bias.b.0.mlp", "const", module="b.0.mlp"),
)
HEADS = "b.0.attn.*"


def made(n: int = 300, seed: int = 0) -> vd.Contributions:
    source = torch.Generator().manual_seed(seed)
    values = torch.randn(n, len(PARTS), 6, generator=source, dtype=torch.float64) + torch.arange(5.0)[:, None]
    return vd.Contributions(values, PARTS, torch.zeros(n, dtype=torch.float64))


def classes(n: int = 300) -> np.ndarray:
    return np.arange(n) % 3


def directions(t: int = 2, d: int = 6) -> Tensor:
    return torch.randn(t, d, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


def ablated(value: str, c: vd.Contributions, components=HEADS, **settings) -> vd.Contributions:
    return vd.Ablator(components, value=value, **settings).fit(c, classes(len(c))).transform(c, classes(len(c)))


def test_zero_removes_exactly():
    c = made()
    left = ablated("zero", c)
    assert torch.allclose(left.total(), c.select(["embed", "b.0.mlp", "bias.*"]).total(), rtol=1e-14)
    assert not left.select(HEADS).values.any()


def test_mean_keeps_the_mean_of_the_total_and_takes_the_variation():
    c = made()
    left = ablated("mean", c)
    assert torch.allclose(left.total().mean(0), c.total().mean(0))
    assert torch.allclose(left.select(HEADS).values, c.select(HEADS).values.mean(0).expand(300, -1, -1))
    assert c.select(HEADS).values.std(0).min() > 0.5
    assert left.total().var(0).sum() < c.total().var(0).sum()


def test_class_means_stay_and_what_varies_within_a_class_goes():
    c = made()
    left = ablated("class-mean", c)
    for label in range(3):
        own = torch.from_numpy(classes() == label)
        assert torch.allclose(left.total()[own].mean(0), c.total()[own].mean(0))
        assert float(left.select(HEADS).values[own].std(0).max()) < 1e-12


def test_resampling_keeps_the_marginal_distribution_and_breaks_the_tie_to_the_image():
    c = made()
    before, after = (some.select(HEADS).values.flatten(1) for some in (c, ablated("resample", c)))
    assert torch.equal(before.sort(0).values, after.sort(0).values)  # the images of fit are permuted
    assert (before == after).all(1).double().mean() < 0.05
    rows = {tuple(row) for row in before.tolist()}
    assert all(tuple(row) in rows for row in after.tolist())  # all components come from one image


def test_the_same_rows_are_resampled_alike_and_another_seed_differs():
    c = made()
    ablator = vd.Ablator(HEADS, value="resample").fit(c)
    whole = ablator.transform(c).values
    part = ablator.transform(c.take(range(100, 150)), rows=range(100, 150)).values
    assert torch.equal(part, whole[100:150])
    other = vd.Ablator(HEADS, value="resample", random_state=1).fit(c).transform(c).values
    assert not torch.equal(other, whole)


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("texts", [None, directions()], ids=["whole", "subspace"])
def test_ablating_twice_is_ablating_once(value, texts):
    c = made()
    ablator = vd.Ablator(HEADS, value=value, directions=texts).fit(c, classes())
    once = ablator.transform(c, classes())
    assert torch.allclose(ablator.transform(once, classes()).values, once.values)


@pytest.mark.parametrize("value", VALUES)
def test_ablating_nothing_is_identity(value):
    c = made()
    assert torch.equal(ablated(value, c, components=()).values, c.values)


def test_ablating_all_with_the_mean_is_a_constant():
    total = ablated("mean", made(), components="*").total()
    assert float(total.std(0).max()) < 1e-12


@pytest.mark.parametrize("value", VALUES)
def test_a_subspace_leaves_what_is_orthogonal_to_it_alone(value):
    c, texts = made(), directions()
    left = ablated(value, c, directions=texts)
    outside = torch.linalg.svd(texts)[2][2:]
    assert torch.allclose(left.values @ outside.T, c.values @ outside.T)
    assert not torch.allclose(left.values @ texts.T, c.values @ texts.T)


def test_a_subspace_of_everything_is_the_whole_component():
    c = made()
    everything = torch.eye(6, dtype=torch.float64)
    assert torch.allclose(ablated("mean", c, directions=everything).values, ablated("mean", c).values)


def test_repeated_directions_span_no_more():
    c, texts = made(), directions()
    twice = torch.cat([texts, texts.sum(0, keepdim=True), 0 * texts])
    assert torch.allclose(ablated("zero", c, directions=twice).values, ablated("zero", c, directions=texts).values)


def test_texts_of_another_space_are_pulled_back_through_the_maps():
    contract = AlignerContract()
    c = contract.contributions()
    aligner = ClosedForm().fit(c, contract.target(c))
    texts = directions(2, 8).float()
    heads = ["b.attn.head.0", "b.mlp"]
    ablator = vd.Ablator(heads, value="zero", directions=texts, aligner=aligner).fit(c)
    assert ablator.bases_.shape == (2, 12, 2)
    left = ablator.transform(c)
    seen = aligner.transform(left).select(heads).values @ texts.T
    assert float(seen.abs().max()) < 1e-4 * float((aligner.transform(c).select(heads).values @ texts.T).abs().max())
    moved = (left.values - c.values).select(1, 0)
    assert int((torch.linalg.svdvals(moved) > 1e-4).sum()) == 2  # no more than two directions were touched
    assert torch.equal(left.select("b.attn.head.1").values, c.select("b.attn.head.1").values)


def test_fitting_in_pieces_is_fitting_at_once():
    c = made(700)
    values = [vd.Ablator(HEADS).fit(source).transform(c).values for source in (c, Selection(c, tuple(range(700))))]
    assert torch.equal(*values)
    assert torch.allclose(values[0][0, 1], c.values[:, 1].mean(0))


def test_components_may_be_named_in_every_way():
    c = made()
    for wanted in ("b.0.mlp", PARTS[3], [PARTS[3]], ["b.0.m*"]):
        assert vd.Ablator(wanted).fit(c).components_ == (PARTS[3],)
    assert vd.Ablator([PARTS[3], "embed"]).fit(c).components_ == (PARTS[0], PARTS[3])  # in the order of the axis


def test_scikit_learn_manners():
    ablator = vd.Ablator(HEADS, value="zero", random_state=3)
    assert clone(ablator).get_params() == ablator.get_params()
    assert ablator.fit(made()) is ablator


def test_contributions_are_not_changed():
    c = made()
    before = c.values.clone()
    ablated("mean", c)
    assert torch.equal(c.values, before)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"components": "b.0.atn.*"}, "no component 'b.0.atn"),
        ({"components": [PARTS[0], vd.Component("b.1.mlp", "mlp")]}, "did you mean b.0.mlp"),
        ({"value": "means"}, "did you mean mean"),
        ({"directions": torch.ones(2, 5)}, r"directions must be \(t, 6\)"),
        ({"directions": torch.zeros(2, 6)}, "not all zero"),
        ({"directions": torch.full((1, 6), torch.nan)}, "finite"),
        ({"directions": directions(), "aligner": object()}, "no linear map"),
        ({"value": "class-mean"}, "give labels"),
    ],
)
def test_settings_that_mean_nothing(settings, message):
    with pytest.raises(vd.VitdecompError, match=message):
        vd.Ablator(**{"components": HEADS, **settings}).fit(made())


def test_contributions_that_do_not_fit():
    c = made()
    fitted = vd.Ablator(HEADS).fit(c)
    for wrong, message in (
        (c.select("embed"), "lack b.0.attn.head.0"),
        (vd.Contributions(c.values[..., :3], PARTS, c.error), "dimension 3"),
    ):
        with pytest.raises(vd.InputError, match=message):
            fitted.transform(wrong)
    with pytest.raises(vd.SpecError, match="not fitted"):
        vd.Ablator(HEADS).transform(c)
    with pytest.raises(vd.InputError, match="no images"):
        vd.Ablator(HEADS).fit(c.take([]))
    with pytest.raises(vd.InputError, match="class 5"):
        vd.Ablator(HEADS, value="class-mean").fit(c, classes()).transform(c, classes() + 5)
    here, there = (vd.Contributions(c.values, PARTS, c.error, origin=Origin(name, name)) for name in "ab")
    with pytest.raises(vd.InputError, match="fitted to a"):
        vd.Ablator(HEADS).fit(here).transform(there)
