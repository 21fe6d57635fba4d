"""Models of transformers for another image size."""

import pytest
import torch
import transformers
from PIL import Image

import vitdecomp as vd

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "image_size": 32,
    "patch_size": 8,
}
SQUASH = transformers.ViTImageProcessor(size={"height": 32, "width": 32}, image_mean=[0.1, 0.2, 0.3])
CROP = transformers.BitImageProcessor(size={"shortest_edge": 36}, crop_size={"height": 32, "width": 32})
MODELS = {
    "vit": (lambda: transformers.ViTModel(transformers.ViTConfig(**SIZES), add_pooling_layer=False), SQUASH),
    "dinov2": (lambda: transformers.Dinov2Model(transformers.Dinov2Config(**SIZES)), CROP),
    "siglip": (lambda: transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**SIZES)), SQUASH),
}
PHOTO = Image.effect_mandelbrot((97, 61), (-2, -1.5, 1, 1.5), 50).convert("RGB")


def saved(module, processor, place):
    torch.manual_seed(0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    module.eval().save_pretrained(place)
    processor.save_pretrained(place)
    return module


@pytest.mark.parametrize("name", MODELS)
def test_position_embeddings_are_resampled_as_transformers_does(name, tmp_path, capfd):
    make, processor = MODELS[name]
    module = saved(make(), processor, tmp_path)
    loaded = vd.load_model(f"hf:{tmp_path}", image_size=48)
    assert loaded.input_size == (3, 48, 48)
    x = torch.randn(2, 3, 48, 48)
    always = {} if name == "dinov2" else {"interpolate_pos_encoding": True}
    with torch.no_grad():
        expected = module(pixel_values=x, **always).last_hidden_state
        got = loaded.module(pixel_values=x).last_hidden_state
    assert torch.equal(got, expected)
    assert not torch.equal(loaded.preprocess(PHOTO), torch.zeros(3, 48, 48))


def test_the_processor_changes_its_size_alone(tmp_path):
    saved(MODELS["vit"][0](), SQUASH, tmp_path)
    x = vd.load_model(f"hf:{tmp_path}", image_size=(48, 64)).preprocess(PHOTO)
    expected = SQUASH(PHOTO, size={"height": 48, "width": 64}, return_tensors="pt")["pixel_values"][0]
    assert torch.equal(x, expected)


def test_a_crop_keeps_its_ratio(tmp_path):
    saved(MODELS["dinov2"][0](), CROP, tmp_path)
    loaded = vd.load_model(f"hf:{tmp_path}", image_size=48)
    sizes = {"size": {"shortest_edge": 54}, "crop_size": {"height": 48, "width": 48}}
    assert torch.equal(loaded.preprocess(PHOTO), CROP(PHOTO, **sizes, return_tensors="pt")["pixel_values"][0])
    assert repr(loaded.preprocess) != repr(vd.load_model(f"hf:{tmp_path}").preprocess)


def test_what_cannot_be_resized_is_one_line(tmp_path):
    config = transformers.BeitConfig(**SIZES, use_relative_position_bias=True)
    saved(transformers.BeitModel(config), SQUASH, tmp_path)
    with pytest.raises(
        vd.SpecError, match=r"cannot be used with images of \(48, 48\): its .*relative_position"
    ) as caught:
        vd.load_model(f"hf:{tmp_path}", image_size=48)
    assert "\n" not in str(caught.value)
    with pytest.raises(vd.SpecError, match="takes images of 3 channels, not 1"):
        vd.load_model(f"hf:{tmp_path}", image_size=(1, 32, 32))
