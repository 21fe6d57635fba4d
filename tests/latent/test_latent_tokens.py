"""LatentTokens: against the model itself with its patterns exchanged, and what holds for every model."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from exchanged import latent_tokens
from families import case, grouped
from helpers import cached, pictures, randomised
from open_clip.transformer import QuickGELU
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

import vitdecomp as vd
from vitdecomp.testing import untouched

LAST = {  # the module that returns all tokens, and the axes of tokens
    "vit_cls": ("blocks.2", (1,)),
    "vit_registers_avg": ("blocks.2", (1,)),
    "dinov2": ("blocks.2", (1,)),
    "siglip": ("blocks.2", (1,)),
    "beit": ("blocks.2", (1,)),
    "eva02": ("blocks.2", (1,)),
    "deit_distilled": ("blocks.2", (1,)),
    "swin": ("layers.1", (1, 2)),
    "swinv2": ("layers.1", (1, 2)),
    "maxvit": ("stages.1", (2, 3)),
    "coatnet": ("stages.3", (2, 3)),
}
MODELS = [
    *LAST, "vit_avg", "dinov3", "cait", "pvt_v2", "hiera", "open_clip_siglip", "open_clip_coca",
    "third_party/einops_cls", "third_party/multi_query", "third_party/encoder_sequence_first", "third_party/windows",
    "hf/clip", "hf/swin", "torchvision/vit", "wide/vit", "wide/swin",
]  # fmt: skip
GOLDEN = Path(__file__).parents[1] / "golden" / "invite_tokens.npz"
CLOSE = 1e-10


@cached
def fitted(name: str) -> vd.LatentTokens:
    return vd.LatentTokens(case(name).decomposer).fit(case(name).images[:1])


@cached
def read(name: str) -> Tensor:
    """Latent tokens of two images."""
    with untouched(case(name).module):
        return fitted(name).transform(case(name).images[:2])


@pytest.mark.parametrize("name", grouped(LAST))
def test_tokens_are_those_of_the_model_with_its_patterns_exchanged(name: str) -> None:
    known, (last, axes) = case(name), LAST[name]
    for layer in (0, len(fitted(name).layers_) // 2, len(fitted(name).layers_)):
        slow = latent_tokens(known.module, last, known.images[:1], layer, axes)
        torch.testing.assert_close(read(name)[0, layer], slow, rtol=0, atol=CLOSE)


@pytest.mark.parametrize("name", grouped(MODELS))
class TestContract:
    """Check what holds for every model."""

    def test_shape(self, name: str) -> None:
        known = fitted(name)
        d = case(name).contributions.dimension
        assert read(name).shape == (2, len(known.layers_) + 1, len(known.tokens_), d)
        assert read(name).isfinite().all()

    def test_patches_are_a_grid(self, name: str) -> None:
        patches = [token for token in fitted(name).tokens_ if token.kind == "patch"]
        rows, columns = patches[0].grid or (0, 0)
        assert [(p.row, p.column) for p in patches] == [(r, c) for r in range(rows) for c in range(columns)]

    def test_a_batch_is_its_images_one_by_one(self, name: str) -> None:
        one = fitted(name).transform(case(name).images[1:2])
        torch.testing.assert_close(read(name)[1:], one, rtol=0, atol=CLOSE)

    def test_chosen_layers_and_tokens_are_those_of_all(self, name: str) -> None:
        some = fitted(name).transform(case(name).images[:1], layers=[-1, 0], tokens=[2, 0])
        torch.testing.assert_close(some, read(name)[:1, [-1, 0]][:, :, [2, 0]], rtol=0, atol=CLOSE)

    def test_layers_differ(self, name: str) -> None:
        assert (read(name)[:, 0] - read(name)[:, -1]).abs().max() > 1e-3


@pytest.mark.parametrize("name", grouped(["vit_cls", "dinov2", "third_party/einops_cls", "open_clip_eva", "hf/clip"]))
def test_the_class_token_of_the_last_layer_is_the_representation(name: str) -> None:
    kinds = [token.kind for token in fitted(name).tokens_]
    whole = case(name).decomposer.represent(case(name).images[:2])
    torch.testing.assert_close(read(name)[:, -1, kinds.index("class")], whole, rtol=0, atol=CLOSE)


@pytest.mark.parametrize("name", grouped(["swin", "swinv2", "maxvit", "pvt_v2", "third_party/windows", "hf/swin"]))
def test_the_mean_of_the_last_layer_is_the_representation(name: str) -> None:
    whole = case(name).decomposer.represent(case(name).images[:2])
    torch.testing.assert_close(read(name)[:, -1].mean(1), whole, rtol=0, atol=CLOSE)


@pytest.mark.parametrize("name", grouped(["vit_cls"]))
def test_a_token_alone_sees_its_own_patch(name: str) -> None:
    known = case(name)
    other = known.images[:1].clone()
    other[..., :8, :8] += 1  # the first patch
    size = known.images.shape[-1] // (fitted(name).tokens_[-1].grid or (0,))[0]
    assert size == 8
    change = (fitted(name).transform(other) - read(name)[:1]).abs().amax(-1)[0]
    assert change[0, 1] > 1e-3  # behind the class token
    assert change[0, 2:].max() < CLOSE
    assert change[-1, 2:].min() > 1e-6


def test_weights_may_change(tiny_vit: nn.Module) -> None:
    x = pictures(1, 32)
    known = vd.LatentTokens(tiny_vit).fit(x)
    before = known.transform(x)
    randomised(tiny_vit, seed=1)
    torch.testing.assert_close(known.transform(x), vd.LatentTokens(copy.deepcopy(tiny_vit)).fit(x).transform(x))
    assert (known.transform(x) - before).abs().max() > 1e-3


def test_tokens_are_those_of_invite() -> None:
    held = np.load(GOLDEN)
    options = json.loads(str(held["kwargs_json"])) | {"act_layer": QuickGELU}
    model = open_clip.transformer.VisionTransformer(**options).eval()
    model.load_state_dict({key[3:]: torch.tensor(held[key]) for key in held if key.startswith("sd/")})
    x = torch.tensor(held["x"])
    found = vd.LatentTokens(model).fit(x[:1]).transform(x)
    for layer in range(4):
        published = torch.tensor(held[f"tokens/last{3 - layer}_masked"])
        torch.testing.assert_close(found[:, layer], published, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["xcit", "convnext", "third_party/linear_attention"])
def test_where_it_has_no_meaning_it_says_so(name: str) -> None:
    with pytest.raises(vd.SpecError, match="latent tokens") as told:
        vd.LatentTokens(case(name).decomposer).fit(case(name).images[:1])
    assert "\n" not in str(told.value)


def test_layers_and_tokens_must_exist(tiny_vit: nn.Module) -> None:
    x = pictures(1, 32)
    with pytest.raises(vd.SpecError, match=r"call fit\(images\[:1\]\)"):
        vd.LatentTokens(tiny_vit).transform(x)
    known = vd.LatentTokens(tiny_vit).fit(x)
    with pytest.raises(vd.SpecError, match="no layer 4: layers of this model are 0 to 3"):
        known.transform(x, layers=[4])
    with pytest.raises(vd.SpecError, match="no token -18: tokens of this model are 0 to 16"):
        known.transform(x, tokens=[-18])
    with pytest.raises(vd.SpecError, match="no layer is asked for"):
        known.transform(x, layers=[])
    both = known.transform(x, layers=[-1, 3, 0], tokens=[2, -15, 0])  # -1 is layer 3, and -15 is token 2
    assert torch.equal(both, known.transform(x, layers=[3, 0], tokens=[2, 0]))


def test_a_model_may_be_small_in_single_precision() -> None:
    torch.manual_seed(0)
    model = VisionTransformer(img_size=16, patch_size=8, embed_dim=12, depth=1, num_heads=2, num_classes=0).eval()
    x = pictures(2, 16).float()
    assert vd.LatentTokens(model).fit(x[:1]).transform(x).shape == (2, 2, 5, 12)
