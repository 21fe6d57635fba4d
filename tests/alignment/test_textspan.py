"""TextSpan: equal to the published choice, and to the greedy algorithm written out."""

from pathlib import Path

import numpy as np
import pytest
import torch
from vitdecomp_alignment.textspan import text_span

from vitdecomp import VitdecompError

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "textspan.npz")
RUNS = [
    ("clip_text_span/iters5_rank6", 5, 6),
    ("clip_text_span/iters8_rank12", 8, 12),
    ("clip_text_span/iters10_rank24", 10, 24),
    ("vit_decompose/iters5_ranknone", 5, None),
    ("vit_decompose/iters10_ranknone", 10, None),
]


def slow(values, texts, m):
    """Contributions and pool written anew after every text."""
    left, pool, chosen, found = values - values.mean(0), texts.clone(), [], values.mean(0).expand_as(values)
    for _ in range(m):
        chosen.append(int((left @ pool.T).var(0).argmax()))
        unit = pool[chosen[-1]] / pool[chosen[-1]].norm()
        along = torch.outer(left @ unit, unit)
        found, left, pool = found + along, left - along, pool - torch.outer(pool @ unit, unit)
    return tuple(chosen), found


def drawn(n=50, d=16, pool=40, seed=0):
    source = torch.Generator().manual_seed(seed)
    return [torch.randn(k, d, generator=source, dtype=torch.float64) for k in (n, pool)]


@pytest.mark.parametrize(("name", "m", "rank"), RUNS)
def test_the_published_choice(name, m, rank):
    values, texts = (torch.from_numpy(GOLDEN[key]) for key in ("data", "text_features"))
    span = text_span(values, texts, m, rank)
    assert span.indices == tuple(GOLDEN[f"{name}/indices"])
    found = span.reconstruct(values)[-1].expand_as(values)  # tests/golden/README.md says why
    assert torch.allclose(found, torch.from_numpy(GOLDEN[f"{name}/reconstruct"]), atol=1e-4)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n", [3, 12, 50])
def test_equal_to_the_algorithm_written_out(seed, n):
    values, texts = drawn(n, seed=seed)
    m = min(n - 1, 10)
    indices, reconstructed = slow(values, texts, m)
    span = text_span(values, texts, m)
    assert span.indices == indices
    assert torch.allclose(span.reconstruct(values), reconstructed, atol=1e-10)


def test_shares_of_the_variance_add_up_to_what_is_reconstructed():
    values, texts = drawn()
    span = text_span(values, texts, 6)
    left, spread = values - span.reconstruct(values), values - values.mean(0)
    assert torch.allclose(1 - span.explained.sum(), left.square().sum() / spread.square().sum())
    assert torch.allclose(span.basis @ span.basis.T, torch.eye(6, dtype=torch.float64), atol=1e-12)
    again = text_span(span.reconstruct(values), texts, 6)
    assert float(again.explained.sum()) == pytest.approx(1)


def test_contributions_along_few_texts_are_found_again_and_nothing_else():
    _, texts = drawn(d=32)
    source = torch.Generator().manual_seed(1)
    texts = torch.linalg.qr(texts[:20].T).Q.T
    strength = torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64)
    values = torch.randn(400, 3, generator=source, dtype=torch.float64) * strength @ texts[[7, 2, 11]]
    span = text_span(values, texts, 10)
    assert span.indices == (7, 2, 11)
    assert float(span.explained.sum()) == pytest.approx(1)


def test_the_choice_does_not_depend_on_the_units():
    values, texts = drawn()
    assert text_span(1e-6 * values + 5, 1e4 * texts, 8).indices == text_span(values, texts, 8).indices


def test_a_component_that_never_changes_has_no_texts():
    _, texts = drawn()
    span = text_span(torch.ones(5, 16, dtype=torch.float64), texts, 3)
    assert span.indices == ()
    assert torch.equal(span.reconstruct(torch.ones(5, 16, dtype=torch.float64)), torch.ones(5, 16, dtype=torch.float64))


@pytest.mark.parametrize(
    ("shape", "m", "rank", "words"),
    [
        ((1, 16), 3, None, r"two images or more.*\(1, 16\)"),
        ((5, 16), 0, None, "must be positive, not 0"),
        ((5, 16), 2, -1, "not 2 and -1"),
    ],
)
def test_what_cannot_be_spanned(shape, m, rank, words):
    with pytest.raises(VitdecompError, match=words):
        text_span(torch.ones(shape, dtype=torch.float64), drawn()[1], m, rank)
