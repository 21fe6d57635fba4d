"""open_clip models: the image tower as embedding and with unit norm, and the text tower."""

import json

import open_clip
import pytest
import torch
from huggingface_hub import constants
from vitdecomp_adapters.open_clip import OpenClipAdapter

import vitdecomp as vd
from vitdecomp._utils import hub
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


WORDS = {**TEXT, "vocab_size": 49408}
COCA = {
    "multimodal_cfg": {"context_length": 12, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    "text_cfg": {**WORDS, "embed_cls": True, "output_tokens": True},
    "vision_cfg": {**VISION, "attentional_pool": True, "attn_pooler_heads": 4, "output_tokens": True},
}
TEXTS = ["a red star", "a photo of many more words than eight tokens hold", ""]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ViT-B-32", {"text_cfg": WORDS}),
        ("ViT-B-32", {"text_cfg": WORDS, "force_custom_text": True}),
        ("coca_ViT-B-32", COCA),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_texts_are_encoded_as_open_clip_does(name, options, dtype):
    loaded = OpenClipAdapter().load(name, pretrained=False, **{**CLIP, **options})
    loaded.module.to(dtype)  # after loading
    tokens = open_clip.get_tokenizer(name)(TEXTS, context_length=8)
    with torch.no_grad():
        vectors = loaded.encode_text(TEXTS)
        assert torch.equal(vectors, loaded.module.encode_text(tokens, normalize=False))
        assert vectors.shape[1] == loaded.representation()(X.to(dtype)).shape[1]
    assert not torch.allclose(vectors.norm(dim=1), torch.ones(3, dtype=dtype))


def test_the_embedded_clip_reads_with_its_own_vocabulary():
    loaded = vd.load_model("scenes:clip")
    assert loaded.encode_text.tokenizer.vocab_size == 1024
    with torch.no_grad():
        tokens = open_clip.get_tokenizer("scenes-clip")(["a red star"])
        assert torch.equal(loaded.encode_text(["a red star"]), loaded.module.encode_text(tokens))


@pytest.fixture
def directory(tmp_path):
    """What open_clip keeps of a model with a tokenizer of transformers; the words are made of few pieces."""
    text = {**TEXT, "vocab_size": 14, "hf_tokenizer_name": "own/repository"}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": {**CLIP, "text_cfg": text}}))
    words = ["<|startoftext|>", "<|endoftext|>", *"abdert", *(f"{letter}</w>" for letter in "adr"), "re", "red</w>"]
    (tmp_path / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\nr e\nre d</w>\n")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer"}))
    return tmp_path


def test_a_tokenizer_of_transformers_is_used_where_the_model_has_one(directory):
    loaded = OpenClipAdapter().load(f"local-dir:{directory}", pretrained=False)
    tokens = torch.tensor([[0, 12, 8, 1, 1, 1, 1, 1]])
    assert torch.equal(loaded.encode_text.tokenizer(["red a"]), tokens)
    with torch.no_grad():
        assert torch.equal(loaded.encode_text(["red a"]), loaded.module.encode_text(tokens))


def test_a_tokenizer_without_its_vocabulary_is_refused(directory):
    loaded = OpenClipAdapter().load(f"local-dir:{directory}", pretrained=False)
    for name in ("vocab.json", "merges.txt"):
        (directory / name).unlink()
    with pytest.raises(vd.LoadError, match=f"cannot get the tokenizer files of open_clip:local-dir:{directory}"):
        loaded.encode_text(["red a"])


def test_a_module_alone_does_not_tell_its_tokenizer():
    assert OpenClipAdapter().recognise(clip()).encode_text is None


def test_a_tokenizer_is_fetched_when_texts_come_and_offline_is_one_line(monkeypatch, tmp_path, capfd):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub, "_reachable", lambda: False)
    config = {**CLIP, "text_cfg": {**TEXT, "no_causal_mask": True, "proj_bias": True, "pool_type": "last"}}
    loaded = OpenClipAdapter().load("ViT-B-16-SigLIP", pretrained=False, **config)
    with pytest.raises(vd.LoadError, match="tokenizer files of open_clip:ViT-B-16-SigLIP: the hub cannot") as caught:
        loaded.encode_text(["a red star"])
    assert "\n" not in str(caught.value)
    assert "HF_HUB_OFFLINE=1" in str(caught.value)
    assert capfd.readouterr() == ("", "")
