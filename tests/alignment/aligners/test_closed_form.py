"""The two ways to a ridge solution, from sums over images and from the images, are the obvious one."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from vitdecomp_alignment import ClosedForm
from vitdecomp_alignment.aligners.closed_form import STRENGTHS, TINY
from vitdecomp_alignment.aligners.maps import Span
from vitdecomp_alignment.aligners.sums import Moments, Rows, Sums, width

from vitdecomp import InputError, SpecError
from vitdecomp.testing import AlignerContract

D, D_CLIP = 12, 7
KINDS = (Sums, Rows)


def drawn(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


SPANS = (Span(torch.arange(2)), Span(torch.arange(2, 5), torch.linalg.qr(drawn(3, D, 4, seed=0)).Q))
R = width(SPANS, D)


def images(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    return drawn(n, 5, D, seed=1), drawn(n, D_CLIP, seed=2)


def gathered(kind: type[Moments], n: int) -> Moments:
    """In three batches, the last of them by another."""
    values, target = images(n)
    first, second = kind(R, D, D_CLIP), kind(R, D, D_CLIP)
    a, b = n // 3, n // 2
    for moments, rows in ((first, slice(a)), (first, slice(a, b)), (second, slice(b, n))):
        some = values[rows]
        moments.add([span.coordinates(some).flatten(1) for span in SPANS], some.sum(1), target[rows])
    first.merge(second)
    return first


def plain(n: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x, s and t, image by image."""
    xs, totals, targets = [], [], []
    for values, t in zip(*images(n), strict=True):
        c = values / values.sum(0).norm()
        own = [*c[:2], *(SPANS[1].basis[k].T @ c[2 + k] for k in range(3))]
        xs.append(torch.cat(own))
        totals.append(c.sum(0))
        targets.append(t / t.norm())
    return torch.stack(xs), torch.stack(totals), torch.stack(targets)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [9, 30, 90])  # fewer images than R, about as many, and more
def test_ridge_is_least_squares_with_the_penalty_as_images(kind, n):
    x, _, t = plain(n)
    towards = drawn(R, D_CLIP, seed=3)
    for strength, found in zip((1e-3, 1.0, 100.0), gathered(kind, n).ridges(towards, (1e-3, 1.0, 100.0)), strict=True):
        root = (strength * x.square().sum() / R).sqrt()
        rows = torch.cat([x, root * torch.eye(R, dtype=x.dtype)])
        wanted = torch.linalg.lstsq(rows, torch.cat([t, root * towards])).solution
        assert torch.allclose(found, wanted, atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_error_and_procrustes_are_what_they_say(kind):
    x, s, t = plain(30)
    found, weight = gathered(kind, 30), drawn(R, D_CLIP, seed=4)
    assert found.n == 30
    assert found.error(weight) == pytest.approx(float((x @ weight - t).square().sum(1).mean()), abs=1e-10)
    nearest = found.procrustes()
    assert torch.allclose(nearest.T @ nearest, torch.eye(D_CLIP, dtype=x.dtype), atol=1e-10)
    best = (s @ nearest - t).square().sum()
    for seed in range(20):
        other = torch.linalg.qr(nearest + 0.1 * drawn(D, D_CLIP, seed=seed)).Q
        assert (s @ other - t).square().sum() > best


@pytest.mark.parametrize(("n", "kind"), [(18, Rows), (400, Sums)])
@pytest.mark.parametrize("keep", [0.0, 2 / 3, 1.0])
def test_the_ridge_that_is_chosen_is_that_of_trying_all(n, kind, keep, monkeypatch):
    contract, seen = AlignerContract(), []
    c = contract.contributions(n)
    noisy = contract.target(c) + drawn(n, 8, seed=5).float()
    choose = ClosedForm._best
    monkeypatch.setattr(ClosedForm, "_best", lambda self, *both: seen.append(deepcopy(both)) or choose(self, *both))
    aligner = ClosedForm(prior="shared", keep=keep).fit(c, noisy)
    sums, held_out, spans = seen[0]
    assert type(sums) is kind
    prior = torch.cat([span.restrict(sums.procrustes()).flatten(0, 1) for span in spans])
    errors = [held_out.error(weight) for weight in sums.ridges(prior, STRENGTHS)]
    allowed = min(errors) + (1 - keep) * max(held_out.error(prior) - min(errors), 0.0) + TINY
    assert aligner.ridge_ == next(one for one, error in zip(STRENGTHS, errors, strict=True) if error <= allowed)


def test_what_is_too_large_for_the_memory_is_refused(monkeypatch):
    monkeypatch.setattr("vitdecomp_alignment.aligners.closed_form.MOST", 100)
    contract = AlignerContract()
    c = contract.contributions(60, 0)
    with pytest.raises(InputError, match=r"together, too many for the memory: keep fewer of each \(max_rank=64\)"):
        ClosedForm().fit(c, contract.target(c))


BLOCKS = [slice(0, D), slice(D, 2 * D), *(slice(2 * D + 4 * k, 2 * D + 4 * k + 4) for k in range(3))]


def with_a_constant(kind: type[Moments], x: torch.Tensor, t: torch.Tensor) -> tuple[Moments, torch.Tensor]:
    """Coordinates and a constant, of images of other lengths; and as they are scaled."""
    lengths = 1 + drawn(len(x), seed=7).abs()
    found = kind(x.shape[1] + 1, D, D_CLIP)
    whole = torch.nn.functional.normalize(drawn(len(x), D, seed=8), dim=1) * lengths[:, None]
    for rows in (slice(len(x) // 3), slice(len(x) // 3, len(x))):
        found.add([x[rows], torch.ones_like(x[rows, :1])], whole[rows], t[rows])
    return found, torch.cat([x, torch.ones_like(x[:, :1])], 1) / lengths[:, None]


@pytest.mark.parametrize("kind", KINDS)
def test_each_component_alone_is_a_regression_with_a_constant(kind):
    x, _, t = plain(90)
    x[:, BLOCKS[3]] = drawn(1, 4, seed=9)  # a component that is the same for all images predicts nothing
    moments, scaled = with_a_constant(kind, x, t)
    found, one = moments.alone(BLOCKS, 0.3), scaled[:, -1:]
    alone = torch.zeros_like(found)
    for block in BLOCKS:
        own, inner = scaled[:, block], scaled[:, block] - one @ (one.T @ scaled[:, block]) / one.square().sum()
        if inner.norm() < 1e-9 * own.norm():
            continue
        penalty = (0.3 * inner.square().sum() / inner.shape[1]).sqrt() * torch.eye(inner.shape[1], dtype=x.dtype)
        rows = torch.cat([torch.cat([own, one], 1), torch.cat([penalty, torch.zeros_like(penalty[:, :1])], 1)])
        wanted = torch.linalg.lstsq(rows, torch.cat([t, t.new_zeros(len(penalty), D_CLIP)])).solution
        alone[block] = wanted[:-1]
    assert found[BLOCKS[3]].abs().max() == 0
    scale = (found / alone)[BLOCKS[0]].mean()
    assert torch.allclose(found[:-1], scale * alone[:-1], atol=1e-9)
    best = (scaled @ found - t).square().sum()
    for factor, shift in ((0.99, 0.0), (1.01, 0.0), (1.0, 0.01), (1.0, -0.01)):
        other = torch.cat([factor * found[:-1], found[-1:] + shift])
        assert (scaled @ other - t).square().sum() > best


def test_own_maps_keep_what_each_component_tells() -> None:
    """Two components hold each a half of the target and together all of it; shared noise is no reason to swap them."""
    n = 600
    t = drawn(n, D_CLIP, seed=1)
    left, right = drawn(D_CLIP, D, seed=2), drawn(D_CLIP, D, seed=3)
    half = torch.zeros_like(t)
    half[:, :3] = t[:, :3]
    common = drawn(n, D, seed=4)
    values = torch.stack([half @ left + common, (t - half) @ right - common], 1).float()
    contract = AlignerContract()
    c = contract.contributions(n)
    c = type(c)(values, c.components[:2], torch.zeros(n))
    kept = {}
    for prior in ("own", "shared"):
        mapped = ClosedForm(prior=prior).fit(c, t.float()).transform(c).values.double()
        own = mapped[:, 0] - mapped[:, 0].mean(0)
        kept[prior] = float(own[:, :3].square().sum() / own.square().sum())
    assert kept["own"] > kept["shared"]


def test_a_prior_that_does_not_exist_is_refused() -> None:
    contract = AlignerContract()
    c = contract.contributions(30)
    with pytest.raises(SpecError, match="prior must be one of shared, own, not 'ones'"):
        ClosedForm(prior="ones").fit(c, contract.target(c))
