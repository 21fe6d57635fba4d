"""Another image size: the preprocessing keeps all but the size, and the model is built for it."""

import pytest
import timm
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from safetensors.torch import save_file
from timm.data import create_transform, resolve_model_data_config
from timm.models.vision_transformer import checkpoint_filter_fn
from torchvision.models import get_model_weights
from torchvision.models.vision_transformer import VisionTransformer
from torchvision.transforms.v2.functional import pil_to_tensor

import vitdecomp as vd
from vitdecomp.models.prepare import ModelOptions, prepare

PHOTO = Image.effect_mandelbrot((97, 61), (-2, -1.5, 1, 1.5), 50).convert("RGB")
PHOTO.paste((250, 20, 90), (10, 10, 30, 50))


def timm_transform(name, size, **changes):
    config = resolve_model_data_config(timm.create_model(name))
    return create_transform(**{**config, "input_size": size, **changes}, is_training=False)


@pytest.mark.parametrize(
    ("name", "size", "shape"),
    [
        ("vit_tiny_patch16_224", "64", (3, 64, 64)),  # position embeddings
        ("vit_tiny_patch16_224", "64x96", (3, 64, 96)),
        ("vit_tiny_patch16_224", "224", (3, 224, 224)),
        ("deit_tiny_patch16_224", "48", (3, 48, 48)),  # another crop
        ("test_vit2", "96", (3, 96, 96)),
        ("test_convnext", "70x50", (3, 70, 50)),  # any size
    ],
)
def test_timms_own_transform_is_used_with_another_size(name, size, shape):
    loaded = prepare(ModelOptions(f"timm:{name}", random_weights=True, device="cpu", image_size=size)).loaded
    assert loaded.input_size == shape
    x = loaded.preprocess(PHOTO)
    assert torch.equal(x, timm_transform(name, shape)(PHOTO))
    assert loaded.representation()(x[None]).shape == (1, loaded.module.num_features)


def test_one_channel_is_grey_with_the_mean_of_the_statistics():
    loaded = prepare(
        ModelOptions("timm:deit_tiny_patch16_224", random_weights=True, device="cpu", image_size="1x64x64")
    ).loaded
    mean, std = (sum(values) / 3 for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    x = loaded.preprocess(PHOTO)
    assert x.shape == loaded.input_size == (1, 64, 64)
    expected = timm_transform("deit_tiny_patch16_224", (1, 64, 64), mean=(mean,), std=(std,))(PHOTO.convert("L"))
    assert torch.equal(x, expected)
    assert loaded.representation()(x[None]).shape == (1, 192)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "test_resnet"])
def test_channels_of_a_model_that_was_made_elsewhere_are_seen(name):
    assert vd.load_model(timm.create_model(name, in_chans=1)).preprocess(PHOTO).shape[0] == 1
    assert vd.load_model(timm.create_model(name, in_chans=4)).preprocess is None


def test_four_channels_are_for_their_user_to_make():
    loaded = vd.load_model("timm:test_vit", pretrained=False, in_chans=4)
    assert loaded.input_size[0] == 4
    assert loaded.representation()(torch.zeros(1, *loaded.input_size)).ndim == 2
    with pytest.raises(vd.InputError, match=r"timm:test_vit takes images of 4 channels.*give it a preprocess"):
        prepare(ModelOptions("timm:test_vit", random_weights=True, device="cpu", image_size="4x160x160"))


def test_a_size_that_patches_do_not_tile_is_one_line():
    with pytest.raises(
        vd.SpecError, match=r"timm cannot build swin_tiny_patch4_window7_224 with .*img_size|.*size"
    ) as caught:
        vd.load_model("timm:swin_tiny_patch4_window7_224", pretrained=False, image_size=(3, 30))
    assert "\n" not in str(caught.value)


def test_position_embeddings_of_a_file_are_resampled_as_timm_does(tmp_path):
    torch.manual_seed(0)
    tensors = timm.create_model("test_vit", img_size=96, num_classes=5).state_dict()
    save_file(tensors, str(tmp_path / "weights.safetensors"))
    loaded = vd.load_model("timm:test_vit", checkpoint_path=tmp_path / "weights.safetensors", image_size=64)
    model = timm.create_model("test_vit", img_size=64, num_classes=5)
    model.load_state_dict(checkpoint_filter_fn(dict(tensors), model))
    x = torch.randn(2, 3, 64, 64)
    assert torch.equal(loaded.representation("logits")(x), model.eval()(x))
    assert loaded.notes == ("pos_embed of weights.safetensors resampled to the image size of the model",)


@pytest.mark.parametrize(("size", "shape"), [(64, (64, 64)), ((64, 32), (64, 32))])
def test_open_clip_builds_its_image_tower_for_the_size(size, shape):
    loaded = vd.load_model("open_clip:ViT-S-32-alt", pretrained=False, image_size=size)
    expected = image_transform_v2(PreprocessCfg(size=shape), is_train=False)
    assert loaded.input_size == (3, *shape)
    x = loaded.preprocess(PHOTO)
    assert torch.equal(x, expected(PHOTO))
    assert loaded.representation()(x[None]).shape == (1, 256)
    with pytest.raises(vd.SpecError, match="takes images of 3 channels, not 1"):
        vd.load_model("open_clip:ViT-S-32-alt", pretrained=False, image_size=(1, 64, 64))


SMALL = {"patch_size": 8, "num_layers": 1, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 16}


def test_torchvisions_position_embeddings_are_resampled(monkeypatch, tmp_path):
    def small(name, weights=None, **options):
        return VisionTransformer(**{"image_size": 32, **SMALL, **options})

    monkeypatch.setattr("torchvision.models.get_model", small)  # a base model is too big for a test
    torch.manual_seed(0)
    tensors = small("vit_b_16", num_classes=6).state_dict()
    save_file(tensors, str(tmp_path / "weights.safetensors"))
    loaded = vd.load_model("torchvision:vit_b_16", checkpoint_path=tmp_path / "weights.safetensors", image_size=48)
    assert loaded.input_size == (3, 48, 48)
    assert loaded.representation("logits")(torch.zeros(1, 3, 48, 48)).shape == (1, 6)
    assert loaded.module.encoder.pos_embedding.shape == (1, 37, 16)
    assert not loaded.module.encoder.pos_embedding.equal(small("vit_b_16", image_size=48).encoder.pos_embedding)
    assert "encoder.pos_embedding of weights.safetensors resampled" in loaded.notes[0]
    headless = {name: tensor for name, tensor in tensors.items() if not name.startswith("heads.")}
    save_file(headless, str(tmp_path / "headless.safetensors"))
    loaded = vd.load_model("torchvision:vit_b_16", checkpoint_path=tmp_path / "headless.safetensors")
    assert set(loaded.outputs) == {"embedding"}
    assert "there are no logits" in loaded.notes[0]


def test_torchvisions_own_transform_is_used_with_another_size():
    standard = get_model_weights("swin_t").DEFAULT.transforms()
    loaded = vd.load_model("torchvision:swin_t", pretrained=False, image_size=112)
    x = loaded.preprocess(PHOTO)
    assert loaded.input_size == x.shape == (3, 112, 112)
    assert (loaded.preprocess.mean, loaded.preprocess.std) == (standard.mean, standard.std)
    assert loaded.preprocess.interpolation == standard.interpolation
    assert loaded.preprocess.resize_size == [round(112 * standard.resize_size[0] / standard.crop_size[0])]
    assert loaded.representation()(x[None]).shape == (1, 768)
    with pytest.raises(vd.SpecError, match="square"):
        vd.load_model("torchvision:vit_b_16", pretrained=False, image_size=(32, 48))


def test_an_opaque_preprocessing_is_not_replaced():
    model = vd.LoadedModel(torch.nn.Identity(), pil_to_tensor, "mine", input_size=(3, 8, 8))
    assert vd.load_model(model, image_size=8) is model
    with pytest.raises(vd.SpecError, match="none is known for"):
        vd.load_model(model, image_size=16)
    assert vd.load_model(vd.LoadedModel(torch.nn.Identity(), None, "mine"), image_size=16).input_size == (3, 16, 16)
