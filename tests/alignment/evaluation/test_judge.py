"""Judging alignments, where the answer is known."""

from dataclasses import replace

import pytest
import torch
from vitdecomp_alignment import ClosedForm, CompAlign, LinearAlign
from vitdecomp_alignment.aligners.penalty import deviation
from vitdecomp_alignment.evaluation.judge import METHODS, Judgement, Spread, judge, summarised
from vitdecomp_alignment.evaluation.match import Match, Vocabulary, match_rate

from vitdecomp import Component, Contributions, InputError, SpecError

FAST = {
    "one map": lambda seed: LinearAlign(random_state=seed, epochs=1),
    "CompAlign": lambda seed: CompAlign(random_state=seed, epochs=1),
    "closed form": lambda seed: ClosedForm(random_state=seed),
}


def orthogonal(d, seed=0):
    return torch.linalg.qr(torch.randn(d, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)).Q


def contributions(n=240, d=12, seed=0):
    source = torch.Generator().manual_seed(seed)
    head = [torch.randn(n, 4, generator=source) @ torch.randn(4, d, generator=source) for _ in range(3)]
    constant = torch.randn(d, generator=source).expand(n, -1)
    names = [("a.head.0", "attn"), ("a.head.1", "attn"), ("a.mlp", "mlp"), ("bias.a", "const")]
    return Contributions(
        torch.stack([*head, constant], 1).double(),
        tuple(Component(*name) for name in names),
        torch.zeros(n, dtype=torch.float64),
    )


def words(n=40, d=12, seed=3):
    own = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Vocabulary(tuple(f"text {i}" for i in range(n)), own, own @ orthogonal(d))


def moved(c, q):
    return replace(c, values=c.values @ q)


def test_a_rotated_space_matches_word_for_word():
    c, vocabulary = contributions(), words()
    found = match_rate(c, moved(c, orthogonal(12)), vocabulary)
    assert found.exact == found.approximate == 1
    assert found.exact_chance == pytest.approx(10 / 40, abs=0.03)
    assert found.exact_chance < found.approximate_chance < 1


def test_another_rotation_matches_as_chance_does():
    c, vocabulary = contributions(), words()
    wrong = [match_rate(c, moved(c, orthogonal(12, seed)), vocabulary) for seed in range(1, 9)]
    assert sum(found.exact for found in wrong) / 8 == pytest.approx(wrong[0].exact_chance, abs=0.15)
    assert all(found.exact < 0.7 for found in wrong)


def test_what_all_descriptions_share_does_not_matter():
    c, vocabulary = contributions(), words()
    shifted = replace(vocabulary, own=vocabulary.own + 3, clip=vocabulary.clip - 2)
    q = orthogonal(12, 5)
    assert match_rate(c, moved(c, q), shifted) == match_rate(c, moved(c, q), vocabulary)


def test_an_exact_match_is_an_approximate_one_and_constants_have_no_part():
    c = contributions()
    q = orthogonal(12, 2)
    found = match_rate(c, moved(c, q), words())
    assert found.exact <= found.approximate
    varying = c.select("a.*")
    assert match_rate(varying, moved(varying, q), words()) == found
    with pytest.raises(InputError, match="the same for all images"):
        match_rate(c.select("bias.*"), moved(c, q).select("bias.*"), words())


def test_a_vocabulary_has_a_vector_for_every_label():
    with pytest.raises(InputError, match="2 labels, 3 and 3 vectors"):
        Vocabulary(("a", "b"), torch.zeros(3, 4), torch.zeros(3, 5))


def test_a_model_aligned_with_itself_stays_as_it_is():
    c, own = contributions(), words().own
    vocabulary = Vocabulary(words().labels, own, own)
    for found in judge(c, c.total(), words=vocabulary, same_space=True, methods=FAST, seeds=[0]):
        assert found.distance < 1e-3, found.method
        assert found.identity is not None
        assert found.identity < 0.02, found.method
        assert found.match is not None
        assert found.match.exact > 0.9, found.method


def test_images_of_other_vectors_teach_nothing():
    c = contributions(600)
    for found in judge(c, c.total() @ orthogonal(12), methods=FAST, seeds=[0]):
        assert found.distance < 0.01
        assert found.shuffled > 0.8 * found.constant
        assert found.match is None
        assert found.identity is None


def test_one_map_cannot_do_what_several_can():
    c = contributions(800, d=6)
    each = torch.stack([orthogonal(6, seed) for seed in range(4)])
    target = torch.einsum("ncd,cde->ne", c.values, each)
    found = summarised(judge(c, target, methods=FAST, seeds=[0, 1]))
    assert found["closed form"]["distance"].mean < 0.02
    assert found["one map"]["distance"].mean > 0.1
    assert found["one map"]["distance"].deviation > 0


def test_the_same_seed_gives_the_same_and_another_holds_out_other_images():
    c = contributions()
    target = c.total() @ orthogonal(12) + contributions(seed=9).total()
    once, again, other = (judge(c, target, methods=FAST, seeds=[seed]) for seed in (4, 4, 5))
    assert [replace(a, seconds=0.0) for a in once] == [replace(a, seconds=0.0) for a in again]
    assert once[0].distance != other[0].distance


def test_progress_and_plan():
    seen = []
    c = contributions()
    found = judge(
        c, c.total(), methods={"closed form": FAST["closed form"]}, seeds=[1, 2, 3], progress=lambda *a: seen.append(a)
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert [(f.method, f.seed) for f in found] == [("closed form", 1), ("closed form", 2), ("closed form", 3)]
    with pytest.raises(SpecError, match="at least one seed"):
        judge(c, c.total(), seeds=[])
    with pytest.raises(InputError, match="one row for each of 240 images"):
        judge(c, c.total()[:-1])


def test_the_table_has_the_four_rows_of_the_paper_and_the_closed_form():
    assert list(METHODS) == ["one map", "lambda 0", "CompAlign", "closed form"]
    assert METHODS["lambda 0"](3).get_params()["orthogonality"] == 0
    assert all(make(3).get_params()["random_state"] == 3 for make in METHODS.values())


def test_means_and_spread():
    rows = [
        Judgement("a", seed, distance, 0.5, 0.6, 0.1, Match(distance, 0.5, 0.1, 0.2), None, 1.0)
        for seed, distance in enumerate((0.1, 0.2, 0.3))
    ]
    found = summarised(rows)["a"]
    assert found["distance"].mean == pytest.approx(0.2)
    assert found["distance"].deviation == pytest.approx(0.1)
    assert found["exact"] == found["distance"]
    assert "identity" not in found
    assert Spread.of([2.0]) == Spread(2.0, 0.0)


@pytest.mark.parametrize(("rows", "columns"), [(5, 5), (3, 8), (8, 3)])
def test_deviation_sees_angles_and_not_scale(rows, columns):
    w = orthogonal(max(rows, columns))[:rows, :columns].contiguous()
    assert deviation([w[None]]) < 1e-7
    assert deviation([7.3 * w[None]]) < 1e-7
    spoilt = w.clone()
    spoilt[0] *= 3
    assert deviation([spoilt[None]]) > 0.1
    assert deviation([torch.outer(w[:, 0], w[0])[None]]) == pytest.approx((1 - 1 / min(rows, columns)) ** 0.5)
    assert deviation([w[None], spoilt[None]]) == pytest.approx(deviation([spoilt[None]]) / 2, abs=1e-7)
