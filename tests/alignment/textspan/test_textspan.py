"""TextSpan: equal to the published choice, and to the greedy algorithm written out, for many components at once."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone
from vitdecomp_alignment import TextSpan
from vitdecomp_alignment.textspan import greedy

from vitdecomp import VitdecompError
from vitdecomp.component import Component
from vitdecomp.contributions import Contributions
from vitdecomp.errors import InputError, SpecError

GOLDEN = np.load(Path(__file__).parents[2] / "golden" / "textspan.npz")
RUNS = [
    ("clip_text_span/iters5_rank6", 5, 6),
    ("clip_text_span/iters8_rank12", 8, 12),
    ("clip_text_span/iters10_rank24", 10, 24),
    ("vit_decompose/iters5_ranknone", 5, None),
    ("vit_decompose/iters10_ranknone", 10, None),
]
VARIANTS = pytest.mark.parametrize("rank", [None, 5])


def made(*components):
    """Contributions of some components, each (n, d)."""
    names = tuple(Component(name=f"blocks.{k}.mlp", kind="mlp") for k in range(len(components)))
    return Contributions(torch.stack(components, 1), names, torch.zeros(len(components[0])))


def slow(values, texts, m, rank=None):
    """Contributions and pool written anew after every text."""
    left, pool, chosen, found = values - values.mean(0), texts.clone(), [], values.mean(0).expand_as(values)
    if rank is not None:
        leading = torch.linalg.svd(values, full_matrices=False).Vh[:rank]
        pool = pool @ leading.T @ leading
    for _ in range(m):
        chosen.append(int((left @ pool.T).var(0).argmax()))
        unit = pool[chosen[-1]] / pool[chosen[-1]].norm()
        along = torch.outer(left @ unit, unit)
        found, left, pool = found + along, left - along, pool - torch.outer(pool @ unit, unit)
    return tuple(chosen), found


def drawn(n=50, d=16, pool=40, seed=0, k=4):
    """Components of different strength and rank, and texts."""
    source = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=source, dtype=torch.float64)  # noqa: E731
    widths = [d if i % 2 else d - i for i in range(k)]
    return made(*(10.0**-i * draw(n, w) @ draw(w, d) + draw(d) for i, w in enumerate(widths))), draw(pool, d)


def same(a, b, tolerance=1e-10):
    return a.indices == b.indices and all(
        torch.allclose(getattr(a, name), getattr(b, name), rtol=tolerance, atol=tolerance)
        for name in ("explained", "basis", "mean")
    )


@pytest.mark.parametrize(("name", "m", "rank"), RUNS)
def test_the_published_choice(name, m, rank):
    values, texts = (torch.from_numpy(GOLDEN[key]) for key in ("data", "text_features"))
    c = made(values, values.flip(0), values.square(), 100 * values)
    fitted = TextSpan(m=m, rank=rank).fit(c, texts)
    for k in (0, 1, 3):
        assert fitted.spans_[k].indices == tuple(GOLDEN[f"{name}/indices"])
    assert fitted.spans_[2].indices != fitted.spans_[0].indices
    found = fitted.transform(c).values[-1:, 0].expand_as(values)  # tests/golden/README.md says why
    assert torch.allclose(found, torch.from_numpy(GOLDEN[f"{name}/reconstruct"]), atol=1e-4)


@VARIANTS
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n", [3, 12, 50])
def test_equal_to_the_algorithm_written_out(seed, n, rank):
    c, texts = drawn(n, seed=seed)
    m = min(n - 1, 10, rank or 10)
    fitted = TextSpan(m=m, rank=rank).fit(c, texts)
    found = fitted.transform(c)
    assert found.components == fitted.components_ == c.components
    for k, span in enumerate(fitted.spans_):
        indices, reconstructed = slow(c.values[:, k], texts, m, rank)
        assert span.indices == indices
        assert torch.allclose(found.values[:, k], reconstructed, atol=1e-10)


@VARIANTS
def test_together_as_one_at_a_time_and_in_chunks_of_any_size(rank):
    c, texts = drawn()
    together = TextSpan(m=8, rank=rank).fit(c, texts).spans_
    for k, span in enumerate(together):
        assert same(*TextSpan(m=8, rank=rank).fit(made(c.values[:, k]), texts).spans_, span)
    for chunk in (1, 3, 4):
        again = TextSpan(m=8, rank=rank, chunk=chunk).fit(c, texts).spans_
        assert all(same(a, b) for a, b in zip(again, together, strict=True))


@VARIANTS
def test_in_blocks_of_any_size(rank, monkeypatch):
    c, texts = drawn()
    together = TextSpan(m=8, rank=rank).fit(c, texts).spans_
    monkeypatch.setattr(greedy, "BLOCK", 7)
    again = TextSpan(m=8, rank=rank).fit(c, texts).spans_
    assert all(same(a, b) for a, b in zip(again, together, strict=True))


@VARIANTS
def test_order_of_components_images_and_texts(rank):
    c, texts = drawn()
    spans = TextSpan(m=6, rank=rank).fit(c, texts).spans_
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(1))
    turned = replace(c, values=c.values.flip(1).flip(0), components=c.components[::-1])
    found = TextSpan(m=6, rank=rank).fit(turned, texts[order])
    assert found.components_ == c.components[::-1]
    for span, other in zip(spans, found.spans_[::-1], strict=True):
        assert same(span, replace(other, indices=tuple(order[list(other.indices)].tolist())))
    assert spans[0].indices != spans[1].indices


@VARIANTS
def test_a_short_basis_begins_a_long_one(rank):
    c, texts = drawn()
    short, long = (TextSpan(m=m, rank=rank).fit(c, texts).spans_ for m in (2, 5))
    for a, b in zip(short, long, strict=True):
        assert a.indices == b.indices[:2]
        assert torch.equal(a.basis, b.basis[:2])


def test_shares_of_the_variance_add_up_to_what_is_reconstructed():
    c, texts = drawn()
    fitted = TextSpan(m=6).fit(c, texts)
    found, spread = fitted.transform(c), (c.values - c.values.mean(0)).square().sum((0, 2))
    left = (c.values - found.values).square().sum((0, 2))
    shares = torch.stack([span.explained.sum() for span in fitted.spans_])
    assert torch.allclose(1 - shares, left / spread)
    assert fitted.score(c) == pytest.approx(float((shares * spread).sum() / spread.sum()))
    for span in fitted.spans_:
        assert torch.allclose(span.basis @ span.basis.T, torch.eye(6, dtype=torch.float64), atol=1e-12)
        assert (span.explained > 0).all()
    again = TextSpan(m=6).fit(found, texts)
    assert again.score(found) == pytest.approx(1)
    assert [span.indices for span in again.spans_] == [span.indices for span in fitted.spans_]


def test_transform_twice_is_transform_once():
    c, texts = drawn()
    fitted = TextSpan(m=3).fit(c, texts)
    once = fitted.transform(c)
    assert torch.allclose(fitted.transform(once).values, once.values, atol=1e-12)
    assert not torch.allclose(once.values, c.values, atol=1e-2)
    assert fitted.score(once) == pytest.approx(1)


def test_the_score_is_of_images_held_out():
    source = torch.Generator().manual_seed(2)
    texts = torch.linalg.qr(torch.randn(32, 20, generator=source, dtype=torch.float64)).Q.T
    draw = torch.randn(900, 3, generator=source, dtype=torch.float64)
    elsewhere = torch.randn(900, 32, generator=source, dtype=torch.float64)
    c = made(draw @ texts[[1, 5, 7]], elsewhere)
    seen, held_out = c.take(range(100)), c.take(range(100, 900))
    fitted = TextSpan(m=3).fit(seen, texts)
    assert fitted.score(held_out.take(range(800))) < fitted.score(seen)
    first = TextSpan(m=3).fit(seen.select("blocks.0.mlp"), texts)
    assert first.score(held_out.select("blocks.0.mlp")) == pytest.approx(1)
    second = TextSpan(m=3).fit(seen.select("blocks.1.mlp"), texts)
    assert second.score(held_out.select("blocks.1.mlp")) == pytest.approx(3 / 32, abs=0.02)


def test_contributions_along_few_texts_are_found_again_and_nothing_else():
    _, texts = drawn(d=32)
    source = torch.Generator().manual_seed(1)
    texts = torch.linalg.qr(texts[:20].T).Q.T
    strength = torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64)
    values = torch.randn(400, 3, generator=source, dtype=torch.float64) * strength
    c = made(values @ texts[[7, 2, 11]], 1e-3 * values[:, :2] @ texts[[0, 19]])
    for dtype in (torch.float64, torch.float32):
        fitted = TextSpan(m=10).fit(replace(c, values=c.values.to(dtype)), texts.to(dtype))
        assert [span.indices for span in fitted.spans_] == [(7, 2, 11), (0, 19)]
        assert [float(span.explained.sum()) for span in fitted.spans_] == pytest.approx([1, 1])
        assert {span.basis.dtype for span in fitted.spans_} == {dtype}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_nearly_explained_components_go_on_with_the_right_texts(dtype):
    """Variances over twelve powers of ten (seven in float32), from which only the order of the texts is asked."""
    source = torch.Generator().manual_seed(3)
    d, steps = 12, 9 if dtype == torch.float64 else 5
    texts = torch.linalg.qr(torch.randn(d, d, generator=source, dtype=torch.float64)).Q.T
    draw = torch.linalg.qr(torch.randn(64, d, generator=source, dtype=torch.float64)).Q
    draw = draw - draw.mean(0)
    fading = 10.0 ** (-0.75 * torch.arange(d, dtype=torch.float64))
    order = torch.randperm(d, generator=source)
    values = (draw * fading) @ texts[order]
    chosen = TextSpan(m=steps).fit(made(values.to(dtype)), texts.to(dtype)).spans_[0].indices
    assert chosen == tuple(order[:steps].tolist())


def test_the_choice_does_not_depend_on_the_units():
    c, texts = drawn()
    indices = [span.indices for span in TextSpan(m=8).fit(c, texts).spans_]
    for values, pool in ((1e-6 * c.values + 5, 1e4 * texts), (1e30 * c.values, 1e-20 * texts)):
        spans = TextSpan(m=8).fit(replace(c, values=values), pool).spans_
        assert [span.indices for span in spans] == indices


def test_of_equal_texts_the_first_is_taken():
    c, texts = drawn(pool=5000)
    spans = TextSpan(m=5).fit(c, texts).spans_
    twice = TextSpan(m=5).fit(c, torch.cat([texts, -texts, texts])).spans_
    assert [span.indices for span in twice] == [span.indices for span in spans]
    assert all(map(same, twice, spans))


@VARIANTS
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_component_that_never_changes_has_no_texts(rank, dtype):
    c, texts = drawn()
    constant = c.values[:1, 0].expand(50, -1)
    c = made(constant.to(dtype), c.values[:, 1].to(dtype), torch.zeros(50, 16, dtype=dtype))
    fitted = TextSpan(m=3, rank=rank).fit(c, texts.to(dtype))
    assert [len(span.indices) for span in fitted.spans_] == [0, 3, 0]
    assert torch.allclose(fitted.transform(c).values[:, [0, 2]], c.values[:, [0, 2]])
    with pytest.raises(InputError, match="the same for all images"):
        TextSpan().fit(c.select("blocks.2.mlp"), texts.to(dtype))


def test_fewer_texts_when_there_is_nothing_left():
    c, texts = drawn()
    for estimator, pool, left in (
        (TextSpan(m=20), texts, 16),
        (TextSpan(), texts[:2], 2),
        (TextSpan(), texts[[0, 1, 1, 0]], 2),
        (TextSpan(rank=2), texts, 2),
        (TextSpan(), 0 * texts, 0),
    ):
        assert [len(span.indices) for span in estimator.fit(c, pool).spans_] == [left] * 4


def test_a_text_of_another_size_drowns_no_other():
    """Its score is so large that what is left of it after its choice is rounding, and more than any other's score."""
    c, texts = drawn()
    texts[3] *= 1e9
    for k, span in enumerate(TextSpan(m=8).fit(c, texts).spans_):
        assert span.indices[0] == 3
        assert span.indices == slow(c.values[:, k], texts, 8)[0]


def test_labels_are_those_of_the_indices():
    c, texts = drawn()
    labels = [f"text {i}" for i in range(len(texts))]
    fitted = TextSpan(m=4).fit(c, texts, labels)
    assert fitted.labels_ == tuple(tuple(f"text {i}" for i in span.indices) for span in fitted.spans_)
    assert fitted.fit(c, texts).labels_ is None


def test_like_any_estimator():
    made_so = TextSpan(m=3, rank=7, chunk=2)
    assert clone(made_so).get_params() == made_so.get_params() == {"m": 3, "rank": 7, "chunk": 2}
    c, texts = drawn()
    done = []
    assert made_so.fit(c, texts, progress=lambda *steps: done.append(steps)) is made_so
    assert done == [(2, 4), (4, 4)]
    assert not hasattr(clone(made_so), "spans_")


def test_half_precision_and_what_needs_gradients():
    c, texts = drawn(k=1)
    indices = TextSpan(m=4).fit(c, texts).spans_[0].indices
    half = replace(c, values=c.values.to(torch.bfloat16))
    fitted = TextSpan(m=1).fit(half, texts.float())
    assert fitted.spans_[0].indices == indices[:1]
    assert fitted.transform(half).values.dtype == torch.bfloat16
    tracked = TextSpan(m=4).fit(replace(c, values=c.values.requires_grad_()), texts.requires_grad_()).spans_[0]
    assert tracked.indices == indices
    assert not tracked.basis.requires_grad


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"m": 0}, "m must be positive, not 0"), ({"rank": -1}, "rank must be .* -1"), ({"chunk": 0}, "chunk must be")],
)
def test_settings_that_mean_nothing(settings, words):
    with pytest.raises(SpecError, match=words):
        TextSpan(**settings).fit(*drawn())


def spoilt(t, at):
    t = t.clone()
    t[at] = float("nan")
    return t


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c, t: (c.take([0]), t), r"two images or more.*\(1, 4, 16\)"),
        (lambda c, t: (c, t[:, :9]), r"got \(50, 4, 16\) and \(40, 9\)"),
        (lambda c, t: (c, t[:0]), r"and \(0, 16\)"),
        (lambda c, t: (c, t, ["one", "two"]), "one label for each text: 2 labels, 40 texts"),
        (lambda c, t: (replace(c, values=spoilt(c.values, (3, 2, 1))), t), "of blocks.2.mlp hold NaN"),
        (lambda c, t: (c, spoilt(t, (3, 2))), "the texts hold NaN"),
    ],
)
def test_what_cannot_be_spanned(change, words):
    with pytest.raises(InputError, match=words):
        TextSpan().fit(*change(*drawn()))


def test_what_was_not_fitted():
    c, texts = drawn()
    fitted = TextSpan().fit(c, texts)
    wrong = [
        (TextSpan(), c, SpecError, "not fitted yet: call fit"),
        (fitted, c.select("blocks.[01].mlp"), InputError, "not the 4 components of fit"),
        (fitted, replace(c, components=c.components[::-1]), InputError, "in their order"),
        (fitted, replace(c, values=c.values[..., :9]), InputError, "length 16 were fitted, not 9"),
    ]
    for estimator, given, error, words in wrong:
        for use in (estimator.transform, estimator.score):
            with pytest.raises(error, match=words):
                use(given)
    with pytest.raises(VitdecompError, match="hold NaN or infinity"):
        fitted.score(replace(c, values=spoilt(c.values, (0, 1, 0))))
