"""Scores of components for features: equal to the published ones, and to what was planted."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import spearmanr
from sklearn.base import clone
from torch import Tensor

import vitdecomp as vd
from vitdecomp.errors import InputError, OutputError, SpecError
from vitdecomp.score import heat_map, quality, write_figure
from vitdecomp.score.agreement import Agreement
from vitdecomp.score.directions import Directions, gram_schmidt
from vitdecomp.score.measures import MEASURES
from vitdecomp.score.sums import Sums
from vitdecomp.units import PrincipalDirections

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "variance_scores.npz")
N, D = 300, 24
FEATURES = ("colour", "shape", "place")
FEW = vd.FeatureScorer(bootstrap=20, shuffles=20)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def contributions(values: Tensor, names: Sequence[str] = (), constants: Sequence[int] = ()) -> vd.Contributions:
    names = names or [f"c{i}" for i in range(values.shape[1])]
    kinds = ["const" if i in constants else "attn" for i in range(len(names))]
    return vd.Contributions(
        values, tuple(map(vd.Component, names, kinds)), torch.zeros(len(values), dtype=torch.float64)
    )


def texts(seed: int = 5) -> dict[str, Tensor]:
    """Three features of three texts each, in directions of their own with something in common."""
    axes = torch.linalg.qr(drawn(D, D, seed=seed)).Q
    return {name: axes[3 * i : 3 * i + 3] + 0.5 * axes[-1] for i, name in enumerate(FEATURES)}


def planted(n: int = N, seed: int = 1) -> vd.Contributions:
    """Two components for each feature, one that shows all of them a little, one of noise, and a constant."""
    words, names, parts = texts(), [], []
    for i, (feature, vectors) in enumerate(words.items()):
        shown = drawn(n, 3, seed=seed + 10 * i) @ gram_schmidt(vectors)
        parts += [shown, 0.7 * shown + 0.2 * drawn(n, D, seed=seed + 10 * i + 1)]
        names += [f"{feature}.0", f"{feature}.1"]
    parts += [0.5 * sum(parts[::2]), 0.3 * drawn(n, D, seed=seed + 50)]  # type: ignore[arg-type]
    constant = drawn(D, seed=seed + 60) * (1 + 1e-3 * drawn(n, 1, seed=seed + 61))
    c = torch.stack([*parts, constant, 7.0 + torch.zeros_like(constant)], 1)
    return contributions(c, [*names, "all", "noise", "bias.norm", "still"], constants=[8])


@pytest.fixture(scope="module")
def scorer() -> vd.FeatureScorer:
    return vd.FeatureScorer().fit(planted(), texts())


def scores(c: vd.Contributions, words: dict[str, Tensor], **settings: object) -> np.ndarray:
    found: np.ndarray = clone(FEW).set_params(bootstrap=0, shuffles=0, **settings).fit(c, words).scores_
    return found


# The score


@pytest.mark.parametrize("k", [1, 3, 6])
def test_the_published_scores(k: int) -> None:
    values = torch.from_numpy(GOLDEN["embeds_decomp"]).transpose(0, 1)
    words = {"feature": torch.from_numpy(GOLDEN[f"k{k}/bases"])}
    published = scores(contributions(values), words, normalization="published")
    assert np.abs(published[0] - GOLDEN[f"k{k}/variance_attributed_normTrue"]).max() < 1e-6
    assert np.allclose(scores(contributions(values), words), published * 50 / 49, rtol=1e-12)
    covariances = Sums(9, 24)
    covariances.add(values.double())
    cross = covariances.along(gram_schmidt(words["feature"].double())).cross.mean(1) / 50
    assert torch.allclose(cross, torch.from_numpy(GOLDEN[f"k{k}/variance_attributed_normFalse"]).double(), atol=2e-6)


def test_it_is_the_mean_correlation_with_the_total() -> None:
    c, words = planted(), texts()
    found = scores(c, words)
    for row, vectors in zip(found, words.values(), strict=True):
        basis = np.linalg.qr(vectors.numpy().T)[0]
        total = c.total().numpy() @ basis
        for i in range(8):
            own = c.values[:, i].numpy() @ basis
            expected = np.mean([np.corrcoef(own[:, b], total[:, b])[0, 1] for b in range(3)])
            assert row[i] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("center", ["none", "feature", "pool"])
def test_units_rotations_and_shifts_do_not_matter(measure: str, center: str) -> None:
    c, words = planted(), texts()
    found = scores(c, words, measure=measure, center=center)
    turn = torch.linalg.qr(drawn(D, D, seed=9)).Q
    turned = replace(c, values=c.values @ turn + drawn(1, 10, D, seed=8))
    assert np.allclose(
        found, scores(turned, {k: 3 * v @ turn for k, v in words.items()}, measure=measure, center=center), atol=1e-9
    )
    assert np.allclose(found, scores(replace(c, values=-5 * c.values), words, measure=measure, center=center))


@pytest.mark.parametrize("center", ["none", "feature"])
def test_shares_add_up_over_components_and_over_units(center: str) -> None:
    c, words = planted(), texts()
    found = scores(c, words, measure="share", center=center)
    # What constants move counts in the total alone.
    whole = scores(c.select([one.name for one in c.components if not one.is_constant]), words, measure="share")
    assert np.allclose(whole.sum(1), 1)
    directions = PrincipalDirections(k=3).fit(c).directions_
    units = scores(directions.transform(c), words, measure="share", center=center)
    for place, component in enumerate(c.components):
        own = [i for i, unit in enumerate(directions.units) if unit.parent == component]
        assert np.allclose(units[:, own].sum(1), found[:, place], atol=1e-9)


def test_a_share_is_the_covariance_written_out() -> None:
    c, words = planted(), texts()
    found = scores(c, words, measure="share")
    for row, vectors in zip(found, words.values(), strict=True):
        x = c.values @ gram_schmidt(vectors).T
        total = x.sum(1)
        for i, component in enumerate(c.components):
            if not component.is_constant:
                pairs = zip(x[:, i].T.numpy(), total.T.numpy(), strict=True)
                expected = sum(float(np.cov(a, b)[0, 1]) for a, b in pairs) / float(total.var(0).sum())
                assert row[i] == pytest.approx(expected, abs=1e-12)


def test_the_order_of_texts_matters_to_the_mean_alone() -> None:
    c, words = planted(), texts()
    other = {name: vectors[[2, 0, 1]] + 0.5 * vectors for name, vectors in words.items()}
    for measure in ("pooled", "share"):
        assert np.allclose(scores(c, words, measure=measure), scores(c, other, measure=measure), atol=1e-12)
    assert np.abs(scores(c, words) - scores(c, other)).max() > 1e-3


def test_what_centring_takes_away() -> None:
    c, words = planted(), texts()
    offsets = {name: drawn(D, seed=20 + i) for i, name in enumerate(words)}
    apart = {name: vectors + offsets[name] for name, vectors in words.items()}
    together = {name: vectors + offsets["colour"] for name, vectors in words.items()}
    assert np.allclose(scores(c, words, center="feature"), scores(c, apart, center="feature"), atol=1e-9)
    assert np.allclose(scores(c, words, center="pool"), scores(c, together, center="pool"), atol=1e-9)
    assert np.abs(scores(c, words, center="pool") - scores(c, apart, center="pool")).max() > 0.01
    assert np.abs(scores(c, words) - scores(c, together)).max() > 0.01


def test_what_components_score_adds_up() -> None:
    """With one direction: sum_i score_i std_i = std of the total, as covariances add up."""
    c, word = planted().select("[!b]*"), texts()["shape"][:1]
    deviations = (c.values @ word[0]).std(0).numpy()
    found = scores(c, {"shape": word})[0]
    assert found @ deviations == pytest.approx(float((c.total() @ word[0]).std()), rel=1e-9)


def test_a_component_that_is_the_total_scores_one_and_its_negative_minus_one() -> None:
    x, y = drawn(N, D), drawn(N, D, seed=1)
    found = scores(contributions(torch.stack([x, -0.5 * x, 0.5 * x, y, -y], 1)), texts())
    assert np.allclose(found[:, [0, 2]], 1)
    assert np.allclose(found[:, 1], -1)


def test_noise_that_cancels_scores_nothing_and_noise_that_stays_its_share() -> None:
    noise, x = drawn(2000, 30, D), drawn(2000, D, seed=1)
    cancels = torch.cat([noise, -noise.sum(1, keepdim=True), x[:, None]], 1)
    found = vd.FeatureScorer(shuffles=0).fit(contributions(cancels), texts())
    assert np.abs(found.scores_[:, :30]).max() < 0.06
    covered = (found.interval_[:, :30, 0] < 0) & (found.interval_[:, :30, 1] > 0)
    assert 0.85 < covered.mean() < 1
    assert (found.interval_[:, 31] > 0.99).all()
    stays = scores(contributions(torch.stack([x, noise[:, 0] / 2], 1)), texts())
    assert np.allclose(stays[:, 1], np.sqrt(0.25 / 1.25), atol=0.06)


def test_constants_and_what_stands_still_score_nothing_and_are_never_chosen(scorer: vd.FeatureScorer) -> None:
    assert (scorer.scores_[:, 8:] == 0).all()
    assert (scorer.interval_[:, 8:] == 0).all()
    assert np.isfinite(scorer.scores_).all()
    for feature in FEATURES:
        assert {c.name for c in scorer.top(feature, k=8)} == {c.name for c in scorer.components_[:8]}
        assert [c.name for c in scorer.ranking(feature)[-2:]] == ["bias.norm", "still"]
        assert [c.name for c in scorer.contrast(feature, FEATURES[0])[-2:]] == ["bias.norm", "still"]
    rounding = planted()
    rounding.values[:, 9] = 7 * (1 + 1e-8 * drawn(N, D))
    assert (scores(rounding, texts())[:, 9] == 0).all()


# Reading


class Counting:
    """A source that says how many images were ever asked for at once."""

    def __init__(self, c: vd.Contributions) -> None:
        self.c, self.components, self.dimension, self.largest = c, c.components, c.dimension, 0

    def __len__(self) -> int:
        return len(self.c)

    def fingerprint(self) -> str:
        return self.c.fingerprint()

    def take(self, rows: Sequence[int]) -> vd.Contributions:
        self.largest = max(self.largest, len(rows))
        return self.c.take(rows)


def test_streaming_gives_what_one_batch_gives() -> None:
    c, told = planted(), list[tuple[int, int]]()
    source = Counting(c)
    once = clone(FEW).set_params(batch_size=N).fit(c, texts())
    stream = clone(FEW).set_params(batch_size=7).fit(source, texts(), progress=lambda *at: told.append(at))
    assert source.largest == 7
    assert told[0] == (7, N)
    assert told[-1] == (N, N)
    for name in ("scores_", "interval_", "chance_", "p_value_"):
        assert np.allclose(getattr(once, name), getattr(stream, name), rtol=0, atol=1e-9), name
    assert all(
        once.top(f, "auto", by=by) == stream.top(f, "auto", by=by) for f in FEATURES for by in ("margin", "agreement")
    )


def test_a_large_mean_costs_no_digits() -> None:
    c = planted()
    moved = replace(c, values=c.values + 1e5 * drawn(1, 10, D, seed=70))
    a, b = (clone(FEW).set_params(batch_size=32).fit(x, texts()) for x in (c, moved))
    assert np.allclose(a.scores_[:, :8], b.scores_[:, :8], atol=1e-7)
    assert np.allclose(a.interval_[:, :8], b.interval_[:, :8], atol=1e-7)


def test_the_seed_decides_everything() -> None:
    a, b, other = (clone(FEW).set_params(random_state=seed).fit(planted(), texts()) for seed in (3, 3, 4))
    assert np.array_equal(a.interval_, b.interval_)
    assert np.array_equal(a.p_value_, b.p_value_)
    assert torch.equal(a.choice_.sample, b.choice_.sample)
    assert not np.array_equal(a.interval_, other.interval_)
    assert np.allclose(a.scores_, other.scores_, rtol=0, atol=1e-12)


# Uncertainty and chance


def test_intervals_hold_the_truth_and_shrink_with_more_images() -> None:
    truth = scores(planted(40_000, seed=900), texts())[:, :8]
    fits = [
        clone(FEW).set_params(bootstrap=200, shuffles=0).fit(planted(200, seed), texts())
        for seed in range(100, 900, 100)
    ]
    inside = [(f.interval_[:, :8, 0] <= truth) & (truth <= f.interval_[:, :8, 1]) for f in fits]
    assert 0.85 < np.mean(inside) < 1
    wide, narrow = (
        np.diff(
            clone(FEW).set_params(bootstrap=200, shuffles=0).fit(planted(n), texts()).interval_[:, :8], axis=2
        ).mean()
        for n in (200, 3200)
    )
    assert wide / narrow == pytest.approx(4, rel=0.25)


def test_planted_components_beat_texts_at_random_and_others_do_not(scorer: vd.FeatureScorer) -> None:
    names = [c.name for c in scorer.components_]
    for row, feature in enumerate(FEATURES):
        mine = [names.index(f"{feature}.{i}") for i in range(2)]
        other = [i for i in range(6) if i not in mine]
        assert (scorer.p_value_[row, mine] < 0.03).all()
        assert (scorer.chance_[row, mine] < scorer.scores_[row, mine] - 0.1).all()
        assert (scorer.p_value_[row, other] > 0.2).all()
    assert scorer.p_value_.min() == pytest.approx(1 / 201)


def test_texts_that_mean_nothing_are_significant_as_often_as_chance_has_it() -> None:
    """Features whose texts were dealt out at random to begin with."""
    words = drawn(24, D, seed=30)
    c = contributions(drawn(400, 40, D, seed=31) @ torch.diag(torch.linspace(0.2, 3, D, dtype=torch.float64)))
    found = vd.FeatureScorer(bootstrap=0).fit(c, {str(i): words[3 * i : 3 * i + 3] for i in range(8)})
    assert 0.01 < (found.p_value_ <= 0.05).mean() < 0.12
    assert found.p_value_.mean() == pytest.approx(0.5, abs=0.08)


def test_a_feature_alone_has_nothing_to_be_compared_with_but_controls() -> None:
    words = texts()
    alone = clone(FEW).fit(planted(), {"colour": words["colour"]})
    assert np.isnan(alone.p_value_).all()
    assert np.isnan(alone.chance_).all()
    assert np.array_equal(alone.margins_, alone.scores_)
    controlled = clone(FEW).fit(
        planted(), {"colour": words["colour"]}, controls=torch.cat([words["shape"], words["place"]])
    )
    assert np.allclose(controlled.scores_, alone.scores_, atol=1e-12)
    assert (controlled.p_value_[0, :2] < 0.2).all()
    assert np.isnan(clone(FEW).set_params(bootstrap=0).fit(planted(), words).interval_).all()


# Choice


def test_the_planted_components_are_chosen(scorer: vd.FeatureScorer) -> None:
    for feature in FEATURES:
        for by in ("margin", "agreement"):
            assert scorer.top(feature, 1, by=by)[0].name in {f"{feature}.0", f"{feature}.1"}
            assert len(scorer.top(feature, 5, by=by)) == 5
            automatic = scorer.top(feature, "auto", by=by)
            assert {c.name for c in automatic} & {f"{feature}.0", f"{feature}.1"}
        assert {c.name for c in scorer.top(feature, 2)} == {f"{feature}.0", f"{feature}.1"}
    assert {c.name for c in scorer.contrast("shape", "place")[:2]} == {"shape.0", "shape.1"}
    assert {c.name for c in scorer.contrast("shape", "place")[-4:-2]} == {"place.0", "place.1"}
    assert scorer.ranking("shape")[0].name == "all"  # it is in the total of every feature


def test_margins_are_the_least_lead_over_any_other_feature(scorer: vd.FeatureScorer) -> None:
    for f, i in np.ndindex(*scorer.scores_.shape):
        others = [scorer.scores_[f, i] - scorer.scores_[g, i] for g in range(3) if g != f]
        assert scorer.margins_[f, i] == min(others)
    order = np.argsort(-scorer.margins_[1, :8], kind="stable")
    assert scorer.top("shape", 3) == tuple(scorer.components_[i] for i in order[:3])


def test_agreement_counts_what_does_not_belong_against_a_sum() -> None:
    x, rows = drawn(200, 4, 6), torch.eye(6, dtype=torch.float64)[:2]
    x[:, 0, 2:], x[:, 1:, :2] = 0, 0  # the first one alone shows the feature
    agreed = Agreement(x, rows)
    curve = agreed.curve([0, 1, 2, 3])
    assert curve[0] == pytest.approx(1)
    assert (np.diff(curve) < 0).all()
    assert agreed.curve([1])[0] < 0.05
    assert agreed.greedy([1, 2, 0, 3]) == [0]
    assert agreed.greedy([1, 2, 0, 3], 2)[0] == 0


def test_gram_schmidt_leaves_out_what_is_there_already() -> None:
    vectors = drawn(4, 7)
    vectors[2] = 2 * vectors[0] - vectors[1]
    rows = gram_schmidt(vectors)
    assert rows.shape == (3, 7)
    assert torch.allclose(rows @ rows.T, torch.eye(3, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(vectors @ rows.T @ rows, vectors, atol=1e-12)
    found = Directions.of({"a": vectors, "b": vectors[:2]}, None, "feature")
    assert {name: len(basis) for name, basis in found.bases().items()} == {"a": 2, "b": 1}


# Quality


def test_quality_is_spearman_twice(scorer: vd.FeatureScorer) -> None:
    c, words = planted(120, seed=3), texts()
    found = quality(scorer, c, words)
    total = torch.nn.functional.normalize(c.total(), dim=1)
    for f, vectors in enumerate(words.values()):
        for i in (0, 3, 7):
            each = [spearmanr(c.values[:, i] @ w, total @ w).statistic for w in vectors]
            assert found.agreement[f, i] == pytest.approx(np.mean(each), abs=1e-6)
    assert [component.name for component in found.components][-1] == "noise"
    own = scorer.scores_[:, :8]
    assert np.allclose(found.between_components, [spearmanr(own[f], found.agreement[f]).statistic for f in range(3)])
    assert np.allclose(
        found.between_features, [spearmanr(own[:, i], found.agreement[:, i]).statistic for i in range(8)]
    )
    assert found.mean()["between_components"] > 0.9
    few = quality(scorer, Counting(c), words, images=40, batch_size=16)
    assert few.agreement.shape == found.agreement.shape
    assert not np.array_equal(few.agreement, found.agreement)


def test_quality_against_vectors_of_other_images_is_nothing(scorer: vd.FeatureScorer) -> None:
    c, words = planted(400, seed=3), texts()
    shuffled = c.total()[torch.randperm(400, generator=torch.Generator().manual_seed(0))]
    assert np.abs(quality(scorer, c, words, shuffled).agreement).max() < 0.15
    assert quality(scorer, c, words).agreement[0, 0] > 0.6
    assert np.allclose(quality(scorer, c, words, 3 * c.total()).agreement, quality(scorer, c, words).agreement)
    alone = clone(FEW).fit(c, {"colour": words["colour"]})
    assert np.isnan(quality(alone, c, {"colour": words["colour"]}).between_features).all()


def test_quality_refuses_what_does_not_belong_together(scorer: vd.FeatureScorer) -> None:
    c, words = planted(20), texts()
    with pytest.raises(InputError, match="not the features and components of fit"):
        quality(scorer, c, {"colour": words["colour"]})
    with pytest.raises(InputError, match="not the features and components of fit"):
        quality(scorer, c.select("[!n]*"), words)
    with pytest.raises(InputError, match=r"reference must be \(20, 24\), not \(19, 24\)"):
        quality(scorer, c, words, c.total()[1:])
    with pytest.raises(InputError, match="three images at least, not 2"):
        quality(scorer, c, words, images=2)


# Figure


def test_the_heat_map_is_a_picture(scorer: vd.FeatureScorer, tmp_path: Path) -> None:
    before = "matplotlib.pyplot" in sys.modules
    marked = {"shape": scorer.top("shape", 2)}
    figure = heat_map(scorer, marked)
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == list(FEATURES)
    assert [label.get_text() for label in axes.get_xticklabels()] == [c.name for c in scorer.components_[:8]]
    assert np.array_equal(np.asarray(axes.images[0].get_array()), scorer.scores_[:, :8])
    (dots,) = axes.lines
    assert {*np.asarray(dots.get_xdata()).tolist()} == {2, 3}
    assert {*np.asarray(dots.get_ydata()).tolist()} == {1}
    write_figure(figure, tmp_path / "scores.png")
    with Image.open(tmp_path / "scores.png") as picture:
        assert picture.size[0] > picture.size[1] > 300
    assert ("matplotlib.pyplot" in sys.modules) == before
    with pytest.raises(OutputError, match=r"must end in \.png"):
        write_figure(figure, tmp_path / "scores.pdf")
    with pytest.raises(OutputError, match="there is no directory"):
        write_figure(figure, tmp_path / "nowhere" / "scores.png")
    assert [path.name for path in tmp_path.iterdir()] == ["scores.png"]


# Manners and refusals


def test_scikit_learn_manners() -> None:
    assert clone(FEW).get_params() == FEW.get_params()
    fitted = clone(FEW).fit(planted(), texts())
    assert fitted.features_ == FEATURES
    assert fitted.interval_.shape == (3, 10, 2)
    assert not [name for name in vars(clone(fitted)) if name.endswith("_")]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"center": "features"}, "center cannot be 'features'; did you mean feature"),
        ({"measure": "means"}, "did you mean mean"),
        ({"normalization": "paper"}, "normalization cannot be 'paper'; there are: consistent, published"),
        ({"bootstrap": -1}, "bootstrap must be 0 or more"),
        ({"batch_size": 0}, "batch_size must be 1 or more"),
        ({"confidence": 1.0}, "confidence must be between 0 and 1"),
    ],
)
def test_settings_that_mean_nothing(settings: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        clone(FEW).set_params(**settings).fit(planted(20), texts())


def test_texts_and_contributions_that_do_not_fit() -> None:
    c, words = planted(20), texts()
    for wrong, message in (
        ({}, "no features"),
        ({"shape": words["shape"][:, 1:]}, r"feature 'shape' needs the vectors of some texts, \(t, 24\).*\(3, 23\)"),
        ({"shape": words["shape"] * torch.nan}, "texts of feature 'shape' hold NaN"),
        ({"shape": 0 * words["shape"]}, "a vector of zeros"),
    ):
        with pytest.raises(InputError, match=message):
            clone(FEW).fit(c, wrong)
    with pytest.raises(InputError, match="feature 'one': nothing is left of its 1 text"):
        clone(FEW).set_params(center="feature").fit(c, {**words, "one": words["shape"][:1]})
    with pytest.raises(InputError, match="two images at least, not 1"):
        clone(FEW).fit(c.take([0]), words)
    broken = replace(c, values=c.values.clone())
    broken.values[3, 2, 5] = torch.inf
    with pytest.raises(InputError, match=r"contributions of shape\.0 hold NaN or infinity"):
        clone(FEW).fit(broken, words)


def test_questions_that_have_no_answer(scorer: vd.FeatureScorer) -> None:
    for ask in (
        scorer.ranking,
        scorer.top,
        lambda f: scorer.contrast(f, "shape"),
        lambda f: scorer.contrast("shape", f),
    ):
        with pytest.raises(SpecError, match="no feature 'color'; did you mean colour"):
            ask("color")
    for k in (0, 9, -1):
        with pytest.raises(InputError, match=rf"k = {k} components of 'shape', but there are 8 that vary"):
            scorer.top("shape", k)
    with pytest.raises(SpecError, match="by cannot be 'margins'; did you mean margin"):
        scorer.top("shape", 2, by="margins")
    with pytest.raises(SpecError, match="not fitted yet"):
        vd.FeatureScorer().top("shape")
    still = contributions(torch.ones(10, 2, D, dtype=torch.float64))
    with pytest.raises(InputError, match="the same for all images"):
        clone(FEW).fit(still, texts())


def test_two_images_are_enough_to_say_something() -> None:
    found = clone(FEW).fit(planted(2), texts())
    assert np.isfinite(found.scores_).all()
    assert np.isfinite(found.interval_).all()
    assert len(found.top("shape", "auto")) >= 1


def test_a_data_frame_has_all_scores_in_order(scorer: vd.FeatureScorer) -> None:
    frame = scorer.to_dataframe()
    assert len(frame) == len(scorer.features_) * len(scorer.components_)
    for row, feature in enumerate(scorer.features_):
        of_it = frame[frame["feature"] == feature]
        assert tuple(of_it["component"]) == tuple(c.name for c in scorer.ranking(feature))
        assert [*of_it["rank"]] == [*range(1, len(of_it) + 1)]
        order = [scorer.components_.index(c) for c in scorer.ranking(feature)]
        for column, values in (
            ("score", scorer.scores_[row]),
            ("margin", scorer.margins_[row]),
            ("low", scorer.interval_[row, :, 0]),
            ("high", scorer.interval_[row, :, 1]),
            ("p_value", scorer.p_value_[row]),
        ):
            np.testing.assert_array_equal(of_it[column], values[order])
    last = scorer.features_[-1]
    assert set(scorer.to_dataframe("polars", features=[last])["feature"]) == {last}
    with pytest.raises(vd.SpecError, match="no feature 'zzz'"):
        scorer.to_dataframe(features=["zzz"])
    with pytest.raises(vd.SpecError, match="not fitted yet"):
        vd.FeatureScorer().to_dataframe()
