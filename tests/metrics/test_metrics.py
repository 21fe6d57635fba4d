"""Ground-truth measures: what was planted is found, what was not is at chance, and the slow definitions agree."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import average_precision_score, balanced_accuracy_score
from sklearn.preprocessing import StandardScaler

from vitdecomp import Component, Contributions, InputError, SpecError
from vitdecomp.metrics import (
    Decodability,
    Knowledge,
    Probe,
    causal_matrix,
    choose,
    component_decodability,
    decodability,
    feature_precision,
    localisation,
    precision_at_k,
    probes,
    retrieve,
)

VALUES = {"shape": 5, "colour": 4, "place": 3}
N, D = 600, 48
CONSTANT = Component("bias.norm", "const", module="norm")
CHOSEN = {f: tuple(Component(f"{f}.{i}", "attn") for i in range(2)) for f in VALUES}
NOISE = tuple(Component(f"noise.{i}", "attn") for i in range(6))


@dataclass(frozen=True)
class Planted:
    """Two components for each factor, copies of each other up to noise, six of noise alone, and a constant."""

    c: Contributions
    labels: dict[str, np.ndarray]


@pytest.fixture(scope="module")
def planted() -> Planted:
    source, rng = torch.Generator().manual_seed(3), np.random.default_rng(3)
    labels = {f: rng.integers(0, k, N) for f, k in VALUES.items()}

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=source, dtype=torch.float64)

    blocks = [random(VALUES[f], D)[labels[f]] + 0.3 * random(N, D) for f, parts in CHOSEN.items() for _ in parts]
    blocks += [0.3 * random(N, D) for _ in NOISE]
    blocks.append(random(1, D).expand(N, D))
    components = (*(part for parts in CHOSEN.values() for part in parts), *NOISE, CONSTANT)
    return Planted(Contributions(torch.stack(blocks, 1), components, torch.zeros(N, dtype=torch.float64)), labels)


@pytest.fixture(scope="module")
def knowledge(planted: Planted) -> Knowledge:
    return component_decodability(planted.c, planted.labels)


# Probes


@pytest.mark.parametrize(("n", "d"), [(200, 12), (60, 90)], ids=["tall", "wide"])
def test_the_probe_is_the_ridge_classifier_of_scikit_learn(n: int, d: int) -> None:
    rng = np.random.default_rng(0)
    labels = {"a": rng.integers(0, 4, n), "b": rng.integers(0, 2, n)}
    x = rng.normal(size=(n, d)) * rng.uniform(0.1, 9, d) + rng.normal(size=d)
    x[:, :4] += 2 * np.eye(4)[labels["a"]]
    found = Probe(ridge=0.1).fit(x, labels).predict(x)
    standard = StandardScaler().fit_transform(x)
    for factor, values in labels.items():
        slow = RidgeClassifier(alpha=0.1 * n).fit(standard, values)
        assert np.array_equal(found[factor], slow.predict(standard))
        assert Decodability.of(found[factor], values).accuracy == pytest.approx(
            balanced_accuracy_score(values, found[factor]), abs=1e-12
        )


def test_narrow_contributions_are_fitted_in_their_own_few_dimensions(monkeypatch: pytest.MonkeyPatch) -> None:
    source = torch.Generator().manual_seed(0)
    narrow = torch.randn(600, 20, generator=source, dtype=torch.float64)
    x = narrow @ torch.randn(20, 520, generator=source, dtype=torch.float64)
    labels = {"a": narrow[:, :3].argmax(1)}
    assert probes._row_basis(x).shape == (520, 20)  # type: ignore[union-attr]
    assert probes._row_basis(torch.randn(600, 520, generator=source, dtype=torch.float64)) is None
    few = Probe().fit(x, labels)
    monkeypatch.setattr(probes, "_row_basis", lambda z: None)
    assert torch.allclose(few.weight_, Probe().fit(x, labels).weight_, rtol=0, atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(scale=st.floats(1e-3, 1e3), shift=st.floats(-10, 10))
def test_units_and_names_of_values_do_not_matter(planted: Planted, scale: float, shift: float) -> None:
    x, labels = planted.c.total()[:200, :12], planted.labels["shape"][:200]
    assert decodability(x, labels) == decodability(x * scale + shift, 7 - 3 * labels)


def test_labels_say_nothing_when_shuffled_and_all_when_planted(planted: Planted) -> None:
    x, labels = planted.c.total(), planted.labels["shape"]
    known, shuffled = decodability(x, labels), decodability(x, np.random.default_rng(0).permutation(labels))
    assert known.score > 0.95
    assert known.chance == shuffled.chance == 0.2
    assert shuffled.score < 0.1
    assert shuffled.score == max(0.0, (shuffled.accuracy - 0.2) / 0.8)


def test_lists_tensors_and_half_precision_are_taken(planted: Planted) -> None:
    x, labels = planted.c.total(), planted.labels["place"]
    expected = decodability(x, labels)
    assert decodability(x.numpy(), torch.from_numpy(labels)) == decodability(x, labels.tolist()) == expected
    assert decodability(x.bfloat16(), labels).score == pytest.approx(expected.score, abs=0.05)


def test_features_that_stand_still_do_not_matter(planted: Planted) -> None:
    x, labels = planted.c.total(), planted.labels["place"]
    rounding = 1e3 * (1 + 1e-9 * torch.randn(N, 4, generator=torch.Generator().manual_seed(0)))
    rounding += 1e-8 * torch.from_numpy(labels)[:, None]
    assert decodability(torch.cat([x, rounding.double()], 1), labels) == decodability(x, labels)
    assert decodability(torch.ones(N, 3), labels).score == 0


def test_too_little_to_tell_apart_is_refused(planted: Planted) -> None:
    x, labels = planted.c.total(), planted.labels["shape"]
    with pytest.raises(InputError, match=r"labels' has a single value among 300 images"):
        decodability(x, np.zeros(N, dtype=int))
    with pytest.raises(InputError, match=r"shape \(599,\), but there are 600 images"):
        decodability(x, labels[1:])
    with pytest.raises(InputError, match=r"must be whole numbers, not float64"):
        decodability(x, labels / 2)
    with pytest.raises(InputError, match=r"x: NaN or infinity"):
        decodability(x * math.nan, labels)
    with pytest.raises(SpecError, match=r"held_out must be a share between 0 and 1, not 1"):
        decodability(x, labels, held_out=1.0)
    with pytest.raises(InputError, match=r"3 images are too few"):
        decodability(x[:3], [0, 1, 0])
    with pytest.raises(SpecError, match=r"ridge must be positive"):
        Probe(ridge=0.0)
    with pytest.raises(InputError, match=r"x has 5 features, but the probe was fitted to 48"):
        Probe().fit(x, {"a": labels}).predict(x[:, :5])


# Knowledge


def test_knowledge_recovers_what_was_planted(planted: Planted, knowledge: Knowledge) -> None:
    assert knowledge.factors == tuple(VALUES)
    assert choose(knowledge, 2).keys() == VALUES.keys()
    for factor, parts in CHOSEN.items():
        assert set(knowledge.top(factor, 2)) == set(choose(knowledge, 2)[factor]) == set(parts)
        scores = dict(zip(knowledge.components, knowledge.of(factor), strict=True))
        assert all(scores[part] > 0.95 for part in parts)
        assert all(score < 0.15 for part, score in scores.items() if part not in parts)
        assert scores[CONSTANT] == 0


def test_knowledge_is_the_probe_on_every_contribution_alone(planted: Planted, knowledge: Knowledge) -> None:
    alone = [decodability(planted.c.values[:, 3], planted.labels[f]).score for f in VALUES]
    assert knowledge.scores[3].tolist() == alone


def test_the_order_of_components_only_orders_the_scores(planted: Planted, knowledge: Knowledge) -> None:
    back = component_decodability(planted.c.select("*").groupby(lambda c: c.name), planted.labels)
    assert np.array_equal(back.scores, knowledge.scores)
    flipped = replace(planted.c, values=planted.c.values.flip(1), components=planted.c.components[::-1])
    assert np.array_equal(component_decodability(flipped, planted.labels).scores[::-1], knowledge.scores)


def test_choose_prefers_the_margin_to_the_score() -> None:
    parts = tuple(Component(name, "attn") for name in ("both", "a", "none", "b"))
    scores = np.array([[0.9, 0.85], [0.5, 0.1], [0.0, 0.0], [0.1, 0.4], [0.0, 0.0]])
    known = Knowledge((*parts, CONSTANT), ("x", "y"), scores)
    assert [c.name for c in known.top("x", 2)] == ["both", "a"]
    assert [c.name for c in choose(known, 4)["x"]] == ["a", "both", "b", "none"]  # no constant, nothing before little
    assert [c.name for c in choose(known, 1)["y"]] == ["b"]
    with pytest.raises(InputError, match=r"k = 5 components for each factor, but there are 4"):
        choose(known, 5)
    with pytest.raises(InputError, match=r"k = 6 components, but there are 5"):
        known.top("x", 6)
    with pytest.raises(SpecError, match=r"no factor 'z'"):
        known.ranking("z")


# Retrieval


def test_retrieval_is_the_obvious_loop() -> None:
    rng = np.random.default_rng(1)
    x, labels = rng.normal(size=(40, 5)), rng.integers(0, 3, 40)
    queries = np.array([7, 0, 31])
    hits = retrieve(x, k=4, queries=queries)
    centered = x - x.mean(0)
    for row, query in enumerate(queries):
        cosine = [
            centered[query] @ centered[i] / math.sqrt((centered[query] @ centered[query]) * (centered[i] @ centered[i]))
            for i in range(40)
        ]
        others = sorted((i for i in range(40) if i != query), key=lambda i: -cosine[i])
        assert hits[row].tolist() == others[:4]
        assert precision_at_k(hits, labels, labels[queries], 3)[row] == pytest.approx(
            sum(labels[i] == labels[query] for i in others[:3]) / 3, abs=1e-12
        )
    similarity = torch.from_numpy(rng.normal(size=(3, 40)))
    best = similarity.argsort(1, descending=True)
    assert np.array_equal(
        precision_at_k(similarity, labels, labels[queries], 6), precision_at_k(best, labels, labels[queries], 6)
    )


def test_a_constant_shift_of_the_contributions_finds_the_same(planted: Planted) -> None:
    moved = replace(planted.c, values=3 * planted.c.values + torch.randn(len(planted.c.components), D))
    chosen = CHOSEN["colour"]
    assert np.array_equal(retrieve(planted.c, chosen), retrieve(moved, chosen))
    assert np.array_equal(retrieve(planted.c), retrieve(planted.c.total()))
    assert not np.array_equal(retrieve(planted.c, chosen), retrieve(planted.c, CHOSEN["shape"]))
    assert (retrieve(planted.c, chosen) != np.arange(N)[:, None]).all()


def test_components_find_images_alike_in_their_own_factor_only(planted: Planted) -> None:
    found = feature_precision(planted.c, planted.labels, CHOSEN)
    assert (found.chosen > 0.95).all()
    assert (found.everything < found.chosen).all()
    assert (found.everything > found.chance + 0.1).all()
    across = found.across[~np.eye(3, dtype=bool)] - np.tile(found.chance, (3, 1))[~np.eye(3, dtype=bool)]
    assert np.abs(across).max() < 0.06
    assert [row["factor"] for row in found.rows()] == list(VALUES)
    share = np.bincount(planted.labels["colour"]) / N
    assert found.chance[1] == pytest.approx((share**2).sum(), abs=0.01)


def test_retrieval_refuses_what_it_cannot_find(planted: Planted) -> None:
    x = planted.c.total()[:10]
    with pytest.raises(InputError, match=r"k = 10, but the gallery has 9 images besides the query"):
        retrieve(x)
    with pytest.raises(InputError, match=r"queries must be indices of the 10 images"):
        retrieve(x, k=2, queries=[10])
    with pytest.raises(InputError, match=r"among contributions only"):
        retrieve(x, CHOSEN["shape"], 2)
    with pytest.raises(SpecError, match=r"no component 'shape\.9'; did you mean shape\."):
        retrieve(planted.c, [Component("shape.9", "attn")])
    with pytest.raises(InputError, match=r"k = 10, but the gallery has 4 images"):
        precision_at_k(np.zeros((2, 4)), [0, 1, 0, 1], [0, 1])
    with pytest.raises(InputError, match=r"labels: shape \(3,\), but there are 4 images"):
        precision_at_k(np.zeros((2, 4)), [0, 1, 0], [0, 1], 2)
    with pytest.raises(InputError, match=r"found: NaN"):
        precision_at_k(np.full((2, 4), np.nan), [0, 1, 0, 1], [0, 1], 2)
    with pytest.raises(InputError, match=r"index outside the gallery of 3"):
        precision_at_k(np.full((1, 4), 3), [0, 1, 0], [0], 2)
    with pytest.raises(SpecError, match=r"no labels for factor 'size'"):
        feature_precision(planted.c, planted.labels, {"size": NOISE})
    with pytest.raises(InputError, match=r"components: none given"):
        feature_precision(planted.c, planted.labels, {"shape": ()})
    with pytest.raises(InputError, match=r"components: no factor"):
        feature_precision(planted.c, planted.labels, {})


# Localisation

MASKS = np.random.default_rng(5).random((6, 16, 16)) < np.linspace(0.05, 0.4, 6)[:, None, None]
MEASURES = ("average_precision", "iou", "pointing", "inside")


def test_the_mask_itself_is_perfect_and_its_complement_is_not() -> None:
    itself, complement = localisation(MASKS.astype(float), MASKS), localisation(1.0 - MASKS, MASKS)
    for measure in MEASURES:
        assert np.allclose(getattr(itself, measure), 1, atol=1e-12)
    assert np.array_equal(itself.chance, MASKS.mean(axis=(1, 2)))
    assert (complement.pointing == 0).all()
    assert (complement.iou == 0).all()
    assert (complement.inside == 0).all()
    assert np.allclose(complement.average_precision, itself.chance, atol=1e-12)
    assert itself.mean()["iou"] == pytest.approx(1)
    assert len(itself) == 6


def test_a_map_without_knowledge_is_at_chance() -> None:
    constant = localisation(torch.ones(6, 4, 4), MASKS)
    share = constant.chance
    for measure in ("average_precision", "pointing", "inside"):
        assert np.allclose(getattr(constant, measure), share, atol=1e-12)
    assert np.allclose(constant.iou, share / (2 - share), atol=1e-12)
    noise = localisation(np.random.default_rng(0).random((200, 16, 16)), np.repeat(MASKS[4:5], 200, 0)).mean()
    assert noise["average_precision"] == pytest.approx(noise["chance"], abs=0.02)
    assert noise["inside"] == pytest.approx(noise["chance"], abs=0.01)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**16), levels=st.integers(1, 300), power=st.integers(-8, 8))
def test_average_precision_is_that_of_scikit_learn_in_any_unit(seed: int, levels: int, power: int) -> None:
    heat = np.random.default_rng(seed).integers(-levels, levels + 1, (6, 16, 16)) / 7.0  # with ties
    found, scaled = localisation(heat, MASKS), localisation(2.0**power * heat, MASKS)
    for measure in MEASURES:
        assert np.allclose(getattr(found, measure), getattr(scaled, measure), atol=1e-12)
    for i, mask in enumerate(MASKS):
        slow = average_precision_score(mask.ravel(), heat[i].ravel())
        assert found.average_precision[i] == pytest.approx(slow, abs=1e-12)


def test_iou_and_pointing_are_the_obvious_ones_without_ties() -> None:
    heat = np.random.default_rng(2).normal(size=(6, 16, 16))
    found = localisation(heat, MASKS)
    for i, mask in enumerate(MASKS):
        kept = heat[i] >= np.sort(heat[i].ravel())[-mask.sum()]
        assert found.iou[i] == pytest.approx((kept & mask).sum() / (kept | mask).sum(), abs=1e-12)
        assert found.pointing[i] == mask.ravel()[heat[i].argmax()]
        assert found.inside[i] == pytest.approx(heat[i][mask].clip(0).sum() / heat[i].clip(0).sum(), abs=1e-12)


def test_small_maps_are_spread_over_the_pixels() -> None:
    mask = np.zeros((1, 64, 64), dtype=bool)
    mask[:, 16:32, 40:56] = True
    tokens = torch.zeros(1, 8, 8)
    tokens[:, 2:4, 5:7] = 1.0
    right, wrong = localisation(tokens, mask), localisation(tokens.transpose(1, 2), mask)
    assert right.average_precision > 0.95
    assert right.pointing == 1
    assert wrong.average_precision < 0.1
    assert wrong.pointing == wrong.inside == 0


def test_heatmaps_that_mean_nothing_are_refused() -> None:
    with pytest.raises(InputError, match=r"heatmap: NaN or infinity"):
        localisation(np.full((6, 16, 16), np.nan), MASKS)
    with pytest.raises(InputError, match=r"mask of image 2 is empty"):
        localisation(np.ones((6, 4, 4)), MASKS & (np.arange(6) != 2)[:, None, None])
    with pytest.raises(InputError, match=r"do not fit masks \(6, 16, 16\)"):
        localisation(np.ones((6, 17, 4)), MASKS)
    assert (localisation(-np.ones((6, 4, 4)), MASKS).inside == 0).all()


# Causal tests


def test_ablation_costs_its_own_factor_and_no_other(planted: Planted) -> None:
    found = causal_matrix(planted.c, planted.labels, CHOSEN)
    own = np.eye(3, dtype=bool)
    assert (found.before > 0.9).all()
    assert (found.drop[own] > 0.8).all()
    assert np.abs(found.drop[~own]).max() < 0.1
    assert (found.selectivity > 0.8).all()
    assert (found.control < 0.5 * found.drop[own]).all()
    assert np.allclose(found.drop, found.before - found.after)
    nothing = causal_matrix(planted.c, planted.labels, dict.fromkeys(VALUES, (CONSTANT,)))
    assert np.abs(nothing.drop).max() == 0


def test_a_copy_keeps_what_a_new_reader_can_find(planted: Planted) -> None:
    c = planted.c.select(lambda k: k not in NOISE)
    values = c.values.clone()
    values[:, 1:6:2] = -0.5 * values[:, 0:6:2]  # half of it comes again, with the other sign
    c = replace(c, values=values)
    original = {f: parts[:1] for f, parts in CHOSEN.items()}
    old, new = (causal_matrix(c, planted.labels, original, refit=refit) for refit in (False, True))
    assert (old.drop.diagonal() > 0.8).all()
    assert np.abs(new.drop.diagonal()).max() < 0.05
    both = causal_matrix(c, planted.labels, CHOSEN, refit=True)
    assert (both.drop.diagonal() > 0.8).all()


def test_the_seed_decides_everything(planted: Planted) -> None:
    def run(seed: int) -> np.ndarray:
        return causal_matrix(planted.c, planted.labels, CHOSEN, seed=seed, draws=2).control

    assert np.array_equal(run(1), run(1))
    assert not np.array_equal(run(1), run(2))


def test_ablation_refuses_what_it_cannot_do(planted: Planted) -> None:
    with pytest.raises(InputError, match=r"draws = 0"):
        causal_matrix(planted.c, planted.labels, CHOSEN, draws=0)
    with pytest.raises(InputError, match=r"13 components to ablate, but only 12 are not constant"):
        causal_matrix(planted.c, planted.labels, {"shape": planted.c.components})
    with pytest.raises(SpecError, match=r"no labels for factor 'shap'; did you mean shape"):
        causal_matrix(planted.c, planted.labels, {"shap": NOISE})
