"""Models of transformers, made from configurations or from a directory: no network."""

import json

import pytest
import torch
import transformers
import vision_zoo
from helpers import pictures
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
SIGLIP = transformers.SiglipConfig(
    text_config={**TEXT, "projection_size": SIZES["hidden_size"], "max_position_embeddings": 9}, vision_config=SIZES
)
MODELS = {
    "vit": lambda: transformers.ViTModel(transformers.ViTConfig(**SIZES)),
    "vit without pooler": lambda: transformers.ViTModel(transformers.ViTConfig(**SIZES), add_pooling_layer=False),
    "classifier": lambda: transformers.ViTForImageClassification(transformers.ViTConfig(**SIZES, num_labels=3)),
    "dinov2": lambda: transformers.Dinov2Model(transformers.Dinov2Config(**SIZES)),
    "siglip tower": lambda: transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**SIZES)),
    "clip": lambda: transformers.CLIPModel(CLIP),
    "siglip": lambda: transformers.SiglipModel(SIGLIP),
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


FOUND = (  # what each was taken for before: a patch, half of what is read, or nothing
    pytest.param("CvtForImageClassification", marks=pytest.mark.slow),
    "DINOv3ViTModel",
    "Dinov2ForImageClassification",
    "IJepaForImageClassification",
    "PoolFormerForImageClassification",
    "TimmWrapperForImageClassification",
    "ViTMAEModel",
)


@pytest.mark.parametrize("name", FOUND)
def test_the_decomposition_of_what_is_read_is_exact(name):
    module = vision_zoo.made(name)
    loaded = HuggingFaceAdapter().recognise(module)
    x = pictures(2, (loaded.input_size or (3, 64, 64))[-1])
    with untouched(module):
        dec = vd.Decomposer(module, cache=None).fit(x)
        total = dec.transform(x).total()
    with torch.no_grad():
        expected = loaded.representation()(x)
    assert torch.allclose(total, expected, atol=1e-12, rtol=1e-12)
    assert dec.report_.notes == loaded.notes


def test_a_patch_is_no_class_token():
    module = vision_zoo.made("IJepaModel")
    with torch.no_grad():
        rows = module(X).last_hidden_state
        got = HuggingFaceAdapter().recognise(module).representation()(X)
    assert torch.equal(got, rows.mean(1))
    assert not torch.allclose(got, rows[:, 0])
    assert "the mean over the tokens" in HuggingFaceAdapter().recognise(module).notes[0]


def test_the_projected_tokens_of_two_towers_give_one_vector_per_image():
    module = vision_zoo.made("FlavaModel")
    with torch.no_grad():
        got = HuggingFaceAdapter().recognise(module).representation()(X)
        expected = module.image_projection(module.image_model(X).last_hidden_state[:, 0])
    assert torch.allclose(got, expected)


def test_a_masked_autoencoder_sees_all_patches_and_no_random_number():
    module = vision_zoo.made("ViTMAEModel")
    compute = HuggingFaceAdapter().recognise(module).representation()
    with torch.no_grad():
        assert torch.equal(compute(X), compute(X))
        assert not torch.equal(module(X).last_hidden_state[:, 0], module(X).last_hidden_state[:, 0])
        changed = X.clone()
        for row in range(0, 32, 8):
            changed[:, :, row : row + 8, :8] += 1.0
            assert not torch.allclose(compute(changed), compute(X))


def test_a_model_that_wants_more_than_images_is_one_clear_line():
    with pytest.raises(vd.SpecError, match=r"SamModel, which gives no vector for an image alone") as caught:
        vd.load_model(vision_zoo.made("SamModel"))
    assert "\n" not in str(caught.value)


def test_a_module_in_training_mode_is_recognised_as_it_is():
    module = vision_zoo.made("ResNetForImageClassification").train()
    with untouched(module):
        HuggingFaceAdapter().recognise(module)


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


WORDS = ["<pad>", "<start>", "<end>", "<unk>", "a", "red", "blue", "star", *(f"word{i}" for i in range(40))]
TEXTS = ["a red star", "blue", "a red star and very many words of which none is known to it"]


@pytest.fixture(params=["clip", "siglip"])
def two_towers(request, tmp_path):
    """A directory with a model of two towers, and a tokenizer of a few words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    made(request.param).float().save_pretrained(tmp_path)
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 1), ("<end>", 2)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", bos_token="<start>", eos_token="<end>", unk_token="<unk>"
    ).save_pretrained(tmp_path)
    return tmp_path


def test_texts_are_encoded_as_transformers_does(two_towers):
    loaded = vd.load_model(f"hf:{two_towers}")
    tokenizer = transformers.AutoTokenizer.from_pretrained(two_towers)
    length = loaded.module.config.text_config.max_position_embeddings
    with torch.no_grad():
        tokens = tokenizer(TEXTS, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
        tokens.pop("token_type_ids", None)  # which tokenizers of older versions return, and no tower here takes
        features = loaded.module.get_text_features(**tokens)
        expected = getattr(features, "pooler_output", features)
        assert torch.equal(loaded.encode_text(TEXTS), expected)
        assert torch.allclose(loaded.encode_text(TEXTS[:1]), expected[:1], atol=1e-5)
        assert expected.shape[1] == loaded.representation()(X.float()).shape[1]


def test_a_module_that_tells_where_it_comes_from_reads_texts(two_towers):
    module = transformers.AutoModel.from_pretrained(two_towers).eval()
    with torch.no_grad():
        assert torch.equal(
            HuggingFaceAdapter().recognise(module).encode_text(TEXTS),
            vd.load_model(f"hf:{two_towers}").encode_text(TEXTS),
        )


@pytest.mark.parametrize("name", ["vit", "siglip tower", "clip"])
def test_without_a_text_tower_or_a_place_there_is_no_text_encoder(name):
    assert HuggingFaceAdapter().recognise(made(name)).encode_text is None


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_a_directory_without_a_tokenizer_is_one_line(name, tmp_path):
    made(name).save_pretrained(tmp_path)
    with pytest.raises(vd.LoadError, match="cannot get the tokenizer files of hf:") as caught:
        vd.load_model(f"hf:{tmp_path}").encode_text(["a"])
    assert "\n" not in str(caught.value)
