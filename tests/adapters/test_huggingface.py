"""Models of transformers, made from configurations or from a directory: no network."""

import json

import pytest
import torch
import transformers
from vitdecomp_adapters.huggingface import HuggingFaceAdapter

import vitdecomp as vd
from vitdecomp.testing import randomise, untouched

SIZES = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "image_size": 32,
    "patch_size": 8,
}
TEXT = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
TOKENS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
CLIP = transformers.CLIPConfig(text_config={**TEXT, **TOKENS}, vision_config=SIZES, projection_dim=16)
MODELS = {
    "vit": lambda: transformers.ViTModel(transformers.ViTConfig(**SIZES)),
    "vit without pooler": lambda: transformers.ViTModel(transformers.ViTConfig(**SIZES), add_pooling_layer=False),
    "classifier": lambda: transformers.ViTForImageClassification(transformers.ViTConfig(**SIZES, num_labels=3)),
    "dinov2": lambda: transformers.Dinov2Model(transformers.Dinov2Config(**SIZES)),
    "siglip tower": lambda: transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**SIZES)),
    "clip": lambda: transformers.CLIPModel(CLIP),
}
X = torch.randn(2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def made(name):
    module = MODELS[name]().double().eval()
    randomise(module)
    return module


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_recognised_and_its_decomposition_exact(name):
    module = made(name)
    with untouched(module):
        dec = vd.Decomposer(module).fit(X)
    assert dec.report_.exact
    assert set(dec.report_.heads.values()) == {4}


def test_a_classifier_offers_its_logits():
    module = made("classifier")
    known = HuggingFaceAdapter().recognise(module)
    with torch.no_grad():
        logits, embedding = (known.representation(o)(X) for o in ("logits", "embedding"))
        assert torch.equal(logits, module(X).logits)
        assert torch.allclose(module.classifier(embedding), logits)
    assert set(HuggingFaceAdapter().recognise(made("vit")).outputs) == {"embedding"}


def test_the_embedding_of_two_towers_is_the_projected_one():
    module = made("clip")
    with torch.no_grad():
        expected = module.visual_projection(module.vision_model(pixel_values=X).pooler_output)
        got = HuggingFaceAdapter().recognise(module).representation()(X)
    assert torch.equal(got, expected)


def test_a_text_model_is_not_recognised():
    config = transformers.BertConfig(**TEXT)
    assert HuggingFaceAdapter().recognise(transformers.BertModel(config)) is None


@pytest.fixture
def directory(tmp_path):
    made("vit").float().save_pretrained(tmp_path)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    return tmp_path


def test_a_directory_is_loaded_with_its_weights(directory):
    from PIL import Image

    loaded = vd.load_model(f"hf:{directory}")
    assert loaded.pretrained
    assert torch.equal(loaded.module.layernorm.weight, made("vit").float().layernorm.weight)
    assert loaded.preprocess(Image.new("RGB", (50, 40))).shape == loaded.input_size == (3, 32, 32)


def test_random_weights_need_the_configuration_alone(directory):
    for weights in directory.glob("*.safetensors"):
        weights.unlink()
    loaded = vd.load_model(f"hf:{directory}", pretrained=False)
    assert not loaded.pretrained
    with pytest.raises(vd.LoadError, match="cannot get the trained weights"):
        vd.load_model(f"hf:{directory}")


def test_code_of_a_repository_is_never_run(directory):
    config = json.loads((directory / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"}}
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "own.py").write_text(f"open({str(directory / 'ran')!r}, 'w')")
    with pytest.raises(vd.VitdecompError):
        vd.load_model(f"hf:{directory}")
    assert not (directory / "ran").exists()


def test_a_model_without_images_is_refused(tmp_path):
    transformers.BertModel(transformers.BertConfig(**TEXT)).save_pretrained(tmp_path)
    with pytest.raises(vd.SpecError, match="takes no images"):
        vd.load_model(f"hf:{tmp_path}")
