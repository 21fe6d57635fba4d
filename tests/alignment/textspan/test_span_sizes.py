"""What TextSpan explains, by size of the basis and of the pool."""

from dataclasses import replace

import pytest
import torch
from vitdecomp_alignment import TextSpan
from vitdecomp_alignment.textspan.span_sizes import span_sizes

from vitdecomp.component import Component
from vitdecomp.contributions import Contributions
from vitdecomp.errors import InputError, SpecError


def made(n=60, d=16, pool=350, k=40, seed=0):
    source = torch.Generator().manual_seed(seed)
    values = torch.randn(n, k, d, generator=source, dtype=torch.float64) * torch.logspace(0, -1, k)[:, None]
    names = tuple(Component(name=f"blocks.{i}.mlp", kind="mlp") for i in range(k))
    texts = torch.randn(pool, d, generator=source, dtype=torch.float64)
    return Contributions(values, names, torch.zeros(n)), texts


def test_the_whole_pool_as_text_span_explains_it():
    c, texts = made()
    rows = span_sizes(c, texts, m=(3, 1), pools=[350])
    assert [(row.pool, row.m, row.draws) for row in rows] == [(350, 1, 1), (350, 3, 1)]
    for row in rows:
        fitted = TextSpan(m=row.m).fit(c, texts)
        assert row.weighted == pytest.approx(fitted.score(c))
        alike = [float(span.explained.sum()) for span in fitted.spans_]
        assert row.mean == pytest.approx(sum(alike) / len(alike))
        assert row.weighted_spread == row.mean_spread == 0


def test_more_texts_explain_more_and_default_sizes_end_with_the_whole_pool():
    rows = span_sizes(*made())
    assert [row.pool for row in rows[::6]] == [100, 300, 350]
    assert [row.m for row in rows] == [1, 2, 5, 10, 20, 50] * 3
    for start in range(0, len(rows), 6):
        for name in ("weighted", "mean"):
            found = [getattr(row, name) for row in rows[start : start + 6]]
            assert found[:4] == sorted(found[:4])
            assert len(set(found[:4])) == 4
            assert found[4:] == pytest.approx([1, 1])  # of 16 dimensions
    assert all(row.weighted_spread > 0 for row in rows if row.pool < 350 and row.m < 16)


def test_larger_pools_hold_the_smaller_ones_and_their_first_text_is_no_worse():
    c, texts = made()
    units = torch.nn.functional.normalize(texts, dim=1)
    found = [row.mean for row in span_sizes(c, units, m=[1], pools=[5, 20, 100, 350], repeats=1)]
    assert found == sorted(found)
    assert len(set(found)) == 4


@pytest.mark.parametrize("rank", [None, 4])
def test_draws_depend_on_the_seed_alone(rank):
    c, texts = made(k=3)
    several = span_sizes(c, texts, m=[1, 2], pools=[20, 100], rank=rank)
    assert several == span_sizes(c, texts, m=[2, 1], pools=[100, 20], rank=rank)
    assert several != span_sizes(c, texts, m=[1, 2], pools=[20, 100], rank=rank, random_state=1)
    assert several[:2] == span_sizes(c, texts, m=[1, 2], pools=[20], rank=rank)  # whatever other sizes are asked for


def test_axes_explain_everything_and_texts_elsewhere_nothing():
    c, _ = made()
    (row,) = span_sizes(c, torch.eye(16, dtype=torch.float64), m=[16], pools=[16])
    assert (row.weighted, row.mean) == pytest.approx((1, 1))
    half = replace(c, values=c.values * (torch.arange(16) < 8))
    (row,) = span_sizes(half, torch.eye(16, dtype=torch.float64)[8:], m=[16], pools=[8])
    assert (row.weighted, row.mean) == (0, 0)


def test_components_that_never_change_do_not_count():
    c, texts = made(k=3)
    still = replace(c, values=c.values * torch.tensor([1, 0, 1])[:, None])
    moving = c.select(["blocks.0.mlp", "blocks.2.mlp"])
    for with_it, without in zip(*(span_sizes(x, texts, m=[2], pools=[9, 20]) for x in (still, moving)), strict=True):
        assert (with_it.weighted, with_it.mean) == pytest.approx((without.weighted, without.mean))
    with pytest.raises(InputError, match="the same for all images"):
        span_sizes(replace(c, values=torch.ones_like(c.values)), texts, m=[2], pools=[9])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"pools": [100, 351]}, r"from 1 to 350, all the texts there are, not \[100, 351\]"),
        ({"pools": [0, 3]}, r"not \[0, 3\]"),
        ({"pools": []}, r"not \[\]"),
        ({"m": [0, 3]}, r"sizes of the basis must be positive, not \[0, 3\]"),
        ({"m": []}, r"not \[\]"),
        ({"repeats": 0}, "repeats and rank must be positive, not 0 and None"),
        ({"rank": 0}, "not 3 and 0"),
    ],
)
def test_sizes_that_mean_nothing(settings, words):
    with pytest.raises(SpecError, match=words):
        span_sizes(*made(k=2), **settings)


def test_what_cannot_be_spanned():
    c, texts = made(k=2)
    with pytest.raises(InputError, match="two images or more"):
        span_sizes(c.take([0]), texts)
