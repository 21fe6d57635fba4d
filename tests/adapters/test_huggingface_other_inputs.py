"""Models of transformers that take videos or spectrograms: as modules, and from a folder."""

import pytest
import torch
import transformers
from other_inputs import CASES, FILM, SMALL, inputs_of, model_of
from vitdecomp_adapters.huggingface import HuggingFaceAdapter

import vitdecomp as vd
from vitdecomp.models.prepare import ModelOptions, prepare
from vitdecomp.models.preprocessing import preprocessing

SPECTROGRAM = {**SMALL, "patch_size": 6, "frequency_stride": 4, "time_stride": 5, "max_length": 30, "num_mel_bins": 18}
V_JEPA = {
    **SMALL, "crop_size": 16, "patch_size": 4, "frames_per_clip": 4, "mlp_ratio": 2, "pred_hidden_size": 24,
    "pred_num_hidden_layers": 1, "pred_num_attention_heads": 3, "pred_num_mask_tokens": 2,
}  # fmt: skip
VIDEO, SOUND = (4, 3, 16, 16), (30, 18)
CLASSIFIERS = {
    "VideoMAEForVideoClassification": ("VideoMAEConfig", {**FILM, "patch_size": 4}, VIDEO),
    "VivitForVideoClassification": ("VivitConfig", {**FILM, "tubelet_size": [2, 4, 8]}, VIDEO),
    "TimesformerForVideoClassification": ("TimesformerConfig", {**FILM, "patch_size": 4}, VIDEO),
    "ASTForAudioClassification": ("ASTConfig", SPECTROGRAM, SOUND),
}


def made(name):
    config, settings, shape = CLASSIFIERS[name]
    return getattr(transformers, name)(getattr(transformers, config)(**settings)), shape


@pytest.mark.parametrize("name", ["videomae", "vivit", "timesformer", "ast"])
def test_a_module_is_recognised_with_the_shape_of_its_inputs(name):
    loaded = HuggingFaceAdapter().recognise(model_of(name))
    assert loaded.input_size == CASES[name].shape
    assert loaded.notes[0].startswith("the embedding is ")


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_folder_with_a_classifier(name, tmp_path):
    model, shape = made(name)
    model.save_pretrained(tmp_path)
    loaded = vd.load_model(f"hf:{tmp_path}")
    assert loaded.input_size == shape
    assert {*loaded.outputs} >= {"embedding", "logits"}
    x = torch.randn(2, *shape)
    with torch.no_grad():
        embedding, logits = (loaded.representation(name)(x) for name in ("embedding", "logits"))
        assert torch.allclose(logits, model.eval()(x).logits, atol=1e-5)
    if loaded.classifier is not None:
        assert torch.allclose(loaded.classifier.layer(embedding), logits, atol=1e-5)


def test_a_folder_is_decomposed_exactly(tmp_path):
    made("ASTForAudioClassification")[0].double().save_pretrained(tmp_path)
    loaded = vd.load_model(f"hf:{tmp_path}")
    loaded.module.double()
    x = inputs_of("ast", 2)
    assert vd.Decomposer(loaded, output="logits", cache=None).fit(x[:1]).transform(x).error.max() <= 1e-12


@pytest.mark.skipif(int(transformers.__version__.split(".")[0]) < 5, reason="older versions cannot run it so small")
def test_v_jepa_takes_videos_by_another_name():
    model = transformers.VJEPA2Model(transformers.VJEPA2Config(**V_JEPA)).double().eval()
    loaded, x = HuggingFaceAdapter().recognise(model), inputs_of("videomae", 2)
    assert loaded.input_size == VIDEO
    with torch.no_grad():
        wanted = model(x, skip_predictor=True).last_hidden_state.mean(1)
        assert torch.allclose(loaded.representation()(x), wanted, atol=1e-12)


def test_what_image_files_cannot_be_made_into_is_said_in_one_line(tmp_path):
    made("TimesformerForVideoClassification")[0].save_pretrained(tmp_path)
    loaded = vd.load_model(f"hf:{tmp_path}")
    with pytest.raises(vd.InputError, match=r"inputs of shape \(4, 3, 16, 16\), and no image file becomes one"):
        preprocessing(loaded)
    with pytest.raises(vd.SpecError, match="takes no images: leave the image size out"):
        vd.load_model(f"hf:{tmp_path}", image_size=32)


def test_inspect_gives_a_model_of_videos_random_inputs(tmp_path):
    made("TimesformerForVideoClassification")[0].save_pretrained(tmp_path)
    options = ModelOptions(f"hf:{tmp_path}", device="cpu")
    with pytest.raises(vd.InputError, match="no image file becomes one"):
        prepare(options)
    prepared = prepare(options, reads_images=False)
    inputs, source = prepared.example(None, 4)
    assert inputs.shape == (2, *prepared.loaded.input_size)
    assert source == f"2 random inputs of shape {prepared.loaded.input_size}"
    assert torch.equal(inputs, prepared.example(None, 4)[0])


def test_a_waveform_model_stays_a_module_of_its_own():
    config = transformers.Wav2Vec2Config(
        hidden_size=24, num_hidden_layers=1, num_attention_heads=3, intermediate_size=24, conv_dim=(8,),
        conv_stride=(4,), conv_kernel=(4,), num_feat_extract_layers=1, num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    assert HuggingFaceAdapter().recognise(transformers.Wav2Vec2Model(config)) is None
