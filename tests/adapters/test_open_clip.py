"""open_clip models: the image tower as embedding and with unit norm."""

import open_clip
import pytest
import torch
from vitdecomp_adapters.open_clip import OpenClipAdapter

import vitdecomp as vd
from vitdecomp.testing import AdapterContract, randomise

VISION = {"image_size": 32, "patch_size": 8, "layers": 2, "width": 48, "head_width": 12}
TEXT = {"width": 32, "heads": 2, "layers": 1, "vocab_size": 100, "context_length": 8}
CLIP = {"embed_dim": 24, "vision_cfg": VISION, "text_cfg": TEXT}


class TestContract(AdapterContract):
    adapter = OpenClipAdapter
    name = "ViT-B-32"
    options = CLIP
    unknown = "ViT-B-61"


def clip(**changes):
    model = open_clip.CLIP(24, {**VISION, **changes}, TEXT).eval().double()
    randomise(model)
    return model


X = torch.randn(3, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("output", ["embedding", "normalized"])
def test_outputs_are_those_of_open_clip(output):
    model = clip()
    c = vd.Decomposer(model, output=output).fit(X[:1]).transform(X)
    with torch.no_grad():
        expected = model.encode_image(X, normalize=output == "normalized")
    assert torch.allclose(c.total(), expected, rtol=1e-12, atol=1e-13)


def test_coca_is_not_normalised_behind_the_users_back():
    model = open_clip.CoCa(
        24,
        multimodal_cfg={"context_length": 8, "vocab_size": 100, "width": 32, "heads": 2, "layers": 1},
        text_cfg={**TEXT, "embed_cls": True, "output_tokens": True},
        vision_cfg={**VISION, "attentional_pool": True, "attn_pooler_heads": 4, "output_tokens": True},
    ).eval()
    known = OpenClipAdapter().recognise(model)
    with torch.no_grad():
        norms = known.representation()(X.float()).norm(dim=-1)
        units = known.representation("normalized")(X.float()).norm(dim=-1)
    assert not torch.allclose(norms, torch.ones(3))
    assert torch.allclose(units, torch.ones(3))


@pytest.mark.parametrize("tokens", [False, True])
def test_an_image_tower_alone_is_recognised(tokens):
    tower = clip(output_tokens=tokens).visual
    dec = vd.Decomposer(tower).fit(X[:1])
    assert dec.report_.dimension == 24
    assert dec.report_.heads == {f"transformer.resblocks.{i}.attn": 4 for i in range(2)}


def test_without_a_tag_the_weights_are_random():
    loaded = OpenClipAdapter().load("ViT-B-32", pretrained=True, **TestContract.options)
    assert not loaded.pretrained


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ViT-B-61", "no model 'ViT-B-61'; did you mean ViT-B-16"),
        (
            "ViT-B-16/laion2b_s34b_b88",
            "no weights 'laion2b_s34b_b88' for ViT-B-16; did you mean laion2b_s34b_b88k",
        ),
        ("ViT-B-16/xyz", "there are: .*openai"),
    ],
)
def test_unknown_names_are_refused(name, message):
    with pytest.raises(vd.SpecError, match=message):
        vd.load_model(f"open_clip:{name}")


def test_an_option_that_the_model_does_not_take_is_refused():
    with pytest.raises(vd.SpecError, match=r"with \{'lays': 3\}"):
        vd.load_model("open_clip:ViT-B-32", pretrained=False, lays=3)


def test_names_are_models_with_and_without_tags():
    names = OpenClipAdapter().names("vit-b-16*")
    assert {"ViT-B-16", "ViT-B-16/laion2b_s34b_b88k"} <= set(names)
