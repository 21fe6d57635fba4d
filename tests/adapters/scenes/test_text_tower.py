"""The text tower of the embedded CLIP alone: the same vectors and the same checksum as of the whole."""

import pytest
import torch
from vitdecomp_adapters.scenes.adapter import MODELS
from vitdecomp_adapters.scenes.text_tower import TextTower

import vitdecomp as vd
from vitdecomp.models.adapter import load_texts
from vitdecomp.models.prepare import ModelOptions, prepare_texts
from vitdecomp.provenance import weights_checksum
from vitdecomp.scenes import SceneDataset

ODD = ["", "It's RED &amp; blue", "ünïcode 漢字 🙂", "12 345", "a long text " * 30]


@pytest.fixture(scope="module")
def whole():
    return vd.load_model("scenes:clip")


@pytest.fixture
def alone():
    return load_texts("scenes:clip")


def test_texts_have_the_vectors_of_open_clip(whole, alone):
    texts = [*SceneDataset(200, seed=5).captions, *ODD]
    with torch.no_grad():
        found, expected = alone.encode_text(texts), whole.encode_text(texts)
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() < 1e-5
    assert (expected[0] - expected[1]).abs().max() > 0.1


def test_a_tower_can_be_converted(whole, alone):
    alone.module.double()
    with torch.no_grad():
        assert torch.allclose(alone.encode_text(ODD).float(), whole.encode_text(ODD), atol=1e-5)


def test_the_checksum_is_that_of_the_whole(whole, alone):
    assert weights_checksum(alone.module) == weights_checksum(whole.module)
    with torch.no_grad():
        alone.module.get_buffer("visual.trunk.pos_embed").mul_(2)  # which texts do not use
    assert weights_checksum(alone.module) != weights_checksum(whole.module)


def test_only_a_clip_as_it_comes_is_read_by_its_tower(tmp_path):
    assert isinstance(prepare_texts(ModelOptions("scenes:clip")).module, TextTower)
    assert [name for name in MODELS if load_texts(f"scenes:{name}")] == ["clip"]
    for changed in ({"random_weights": True}, {"checkpoint": tmp_path}, {"dtype": "float64"}, {"image_size": "32"}):
        assert prepare_texts(ModelOptions("scenes:clip", **changed)) is None
    assert load_texts("timm:vit_base_patch16_224") is None
    with pytest.raises(vd.SpecError, match="no device 'tpu'"):
        prepare_texts(ModelOptions("scenes:clip", device="tpu"))


def test_the_random_state_stays_as_it_is():
    before = torch.get_rng_state()
    prepare_texts(ModelOptions("scenes:clip"))
    assert torch.equal(torch.get_rng_state(), before)


def test_missing_and_damaged_weights_are_one_clear_line(monkeypatch, tmp_path):
    monkeypatch.setattr("vitdecomp_adapters.scenes.clip.WEIGHTS", tmp_path)
    with pytest.raises(vd.LoadError, match="weights of scenes:clip are missing"):
        load_texts("scenes:clip")
    (tmp_path / "clip.safetensors").write_bytes(b"damaged")
    with pytest.raises(vd.LoadError, match=r"clip\.safetensors"):
        load_texts("scenes:clip")
