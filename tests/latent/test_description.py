"""Tokens in words: against the cosines of all texts at once."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from helpers import pictures
from torch import Tensor, nn

import vitdecomp as vd
from vitdecomp.component import WHOLE
from vitdecomp.latent import description
from vitdecomp.sources.aligner import Aligner

TEXTS = [f"text {i}" for i in range(23)]


def vectors(texts: Sequence[str], d: int = 48) -> Tensor:
    """Vectors that depend on nothing but the text, and are of no particular length."""
    draws = [torch.Generator().manual_seed(int.from_bytes(text.encode(), "big") % 2**31) for text in texts]
    return torch.stack([7 * torch.randn(d, generator=each, dtype=torch.float64) for each in draws])


class Whole(Aligner):
    """A map of the whole representation, with a bias."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.weight, self.components_ = weight, (WHOLE,)
        self.maps_ = type("Maps", (), {"bias": bias})()

    def fit(self, source: object, target: Tensor) -> Whole:
        return self

    def transform(self, c: vd.Contributions) -> vd.Contributions:
        return c

    def restricted(self, component: vd.Component, basis: Tensor | None = None) -> Tensor:
        assert component is WHOLE
        return self.weight


@pytest.fixture
def tokens(tiny_vit: nn.Module) -> vd.LatentTokens:
    return vd.LatentTokens(tiny_vit).fit(pictures(1, 32))


def nearest(z: Tensor, q: Tensor, dim: int = -1) -> Tensor:
    return (z / z.norm(dim=dim, keepdim=True)) @ (q / q.norm(dim=1, keepdim=True)).T


@pytest.mark.parametrize("at_once", [4096, 5])
@pytest.mark.parametrize("published", [False, True])
def test_texts_are_the_most_similar(
    tokens: vd.LatentTokens, monkeypatch: pytest.MonkeyPatch, at_once: int, published: bool
) -> None:
    monkeypatch.setattr(description, "AT_ONCE", at_once)
    x = pictures(2, 32)
    found = tokens.describe(x, TEXTS, vectors, k=7, published=published)
    z = tokens.transform(x)
    cosines = nearest(z, vectors(TEXTS), -2 if published else -1)
    expected = cosines.topk(7, dim=-1)
    torch.testing.assert_close(found.similarities, expected.values, rtol=0, atol=1e-12)
    assert torch.equal(found.indices, expected.indices)
    assert found.words(1, 2, 3)[0] == (TEXTS[int(expected.indices[1, 2, 3, 0])], found.similarities[1, 2, 3, 0].item())


def test_the_slip_changes_the_nearest_text(tokens: vd.LatentTokens) -> None:
    x = pictures(4, 32)
    ours, theirs = (tokens.describe(x, TEXTS, vectors, k=1, published=p).indices for p in (False, True))
    assert (ours != theirs).float().mean() > 0.02


def test_through_maps_of_the_representation(tokens: vd.LatentTokens) -> None:
    x = pictures(2, 32)
    weight, bias = vectors([f"row {i}" for i in range(48)], 12), vectors(["bias"], 12)[0]
    found = tokens.describe(x, TEXTS, lambda t: vectors(t, 12), aligner=Whole(weight, bias), layers=[1], tokens=[0, 5])
    cosines = nearest(tokens.transform(x, layers=[1], tokens=[0, 5]) @ weight + bias, vectors(TEXTS, 12))
    torch.testing.assert_close(found.similarities, cosines.topk(3, dim=-1).values, rtol=0, atol=1e-12)
    assert (found.layers, found.tokens) == ((1,), (0, 5))
    with pytest.raises(vd.SpecError, match="layer 0 was not described: there are 1"):
        found.words(0, 0, 0)


def test_there_may_be_fewer_texts_than_are_asked_for(tokens: vd.LatentTokens) -> None:
    assert tokens.describe(pictures(1, 32), TEXTS[:2], vectors, k=5).indices.shape == (1, 4, 17, 2)


def test_what_cannot_be_described_is_said(tokens: vd.LatentTokens) -> None:
    x = pictures(1, 32)
    with pytest.raises(vd.SpecError, match="the model reads none; give space="):
        tokens.describe(x, TEXTS)
    with pytest.raises(vd.InputError, match="give a list of one or more strings"):
        tokens.describe(x, [], vectors)
    with pytest.raises(vd.InputError, match="texts have vectors of 12, the model of 48"):
        tokens.describe(x, TEXTS, lambda t: vectors(t, 12))
    with pytest.raises(vd.SpecError, match="at least 1, not 0"):
        tokens.describe(x, TEXTS, vectors, k=0)
    parts = Whole(torch.eye(48), torch.zeros(48))
    parts.components_ = tokens.decomposer_.components_
    with pytest.raises(vd.SpecError, match="maps of the whole representation"):
        tokens.describe(x, TEXTS, vectors, aligner=parts)
