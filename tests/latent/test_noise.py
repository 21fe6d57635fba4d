"""Random smoothing and drift: against the slow way, and what must hold for any noise."""

from __future__ import annotations

import pytest
import torch
from families import case, grouped
from helpers import pictures
from torch import Tensor, nn

import vitdecomp as vd
from vitdecomp.latent import Smoothing

CLOSE = 1e-10


@pytest.mark.parametrize("name", grouped(["vit_cls", "siglip", "swin", "third_party/encoder_sequence_first"]))
class TestContract:
    """Check what holds for every model."""

    def test_no_noise_changes_nothing(self, name: str) -> None:
        known = case(name)
        tokens = vd.LatentTokens(known.decomposer).fit(known.images)
        found = tokens.transform(known.images[:1], smoothing=Smoothing(draws=2, factor=0))
        torch.testing.assert_close(found, tokens.transform(known.images[:1]), rtol=0, atol=CLOSE)

    def test_noise_is_the_same_for_all_images(self, name: str) -> None:
        known = case(name)
        tokens, smoothing = vd.LatentTokens(known.decomposer).fit(known.images), Smoothing(draws=5, seed=1)
        together = tokens.transform(known.images[:2], smoothing=smoothing)
        alone = tokens.transform(known.images[1:2], smoothing=smoothing)
        torch.testing.assert_close(together[1:], alone, rtol=0, atol=CLOSE)
        other = tokens.transform(known.images[:2], smoothing=Smoothing(draws=5, seed=2))
        assert (other - together)[:, 1:].abs().max() > 1e-4

    def test_tokens_of_the_first_layer_have_not_moved(self, name: str) -> None:
        known = case(name)
        tokens = vd.LatentTokens(known.decomposer).fit(known.images)
        found = tokens.transform(known.images[:1], layers=[0], smoothing=Smoothing(draws=3))
        torch.testing.assert_close(found, tokens.transform(known.images[:1], layers=[0]), rtol=0, atol=CLOSE)


def alone(block: nn.Module, x: Tensor) -> Tensor:
    """A block in which tokens attend to themselves alone."""
    n, t, d = x.shape
    values = block.attn.qkv(block.norm1(x)).reshape(n, t, 3, d)[:, :, 2]
    x = x + block.attn.proj(values)
    return x + block.mlp(block.norm2(x))


def test_smoothing_is_the_mean_over_copies_with_the_noise_of_the_drift(tiny_vit: nn.Module) -> None:
    x = pictures(3, 32)
    tokens = vd.LatentTokens(tiny_vit).fit(x)
    smoothing, layer = Smoothing(draws=4, factor=0.3, seed=5), 2
    with torch.no_grad():
        own = tiny_vit._pos_embed(tiny_vit.patch_embed(x))
        moved = own
        for block in tiny_vit.blocks[:layer]:
            own, moved = block(own), alone(block, moved)
        noise = smoothing.noise((own.mean(0) - moved.mean(0)).abs(), layer)
        copies = own[:, None] + noise
        z = copies.flatten(0, 1)
        for block in tiny_vit.blocks[layer:]:
            z = alone(block, z)
        expected = tiny_vit.norm(z).unflatten(0, copies.shape[:2]).mean(1)
    found = tokens.transform(x, layers=[layer], smoothing=smoothing)[:, 0]
    torch.testing.assert_close(found, expected, rtol=0, atol=CLOSE)


def test_drift_is_how_far_tokens_are_from_the_models_own(tiny_vit: nn.Module) -> None:
    x = pictures(3, 32)
    tokens = vd.LatentTokens(tiny_vit).fit(x[:1])
    z, drift = tokens.transform(x), tokens.drift(x)
    torch.testing.assert_close(drift.cosine, torch.cosine_similarity(z, z[:, -1:], dim=-1).mean(0))
    torch.testing.assert_close(drift.distance, ((z - z[:, -1:]).norm(dim=-1) / z[:, -1:].norm(dim=-1)).mean(0))
    assert drift.distance[-1].max() == 0
    assert drift.distance[0].min() > 0.1


@pytest.mark.parametrize(
    "settings", [{"draws": 0}, {"factor": -1.0}, {"factor": float("inf")}, {"factor": float("nan")}]
)
def test_settings_are_checked(settings: dict[str, float]) -> None:
    with pytest.raises(vd.SpecError, match="smoothing needs draws of at least 1"):
        Smoothing(**settings)  # type: ignore[arg-type]
