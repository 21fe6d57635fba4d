"""The embedded models are models like any others."""

import open_clip
import pytest
import timm
import torch
from vitdecomp_adapters.scenes.adapter import MODELS, ScenesAdapter
from vitdecomp_adapters.scenes.architectures import CLASSES

import vitdecomp as vd
from vitdecomp.models.adapter import as_loaded
from vitdecomp.testing import AdapterContract, randomise


class ScenesContract(AdapterContract):
    adapter = ScenesAdapter
    unknown = "diet"

    def test_the_module_alone_is_recognised(self) -> None:
        """By the library that it is made with."""
        loaded = self.load()
        assert ScenesAdapter().recognise(loaded.module) is None
        assert set(as_loaded(loaded.module).outputs) == set(loaded.outputs)


class TestDeitContract(ScenesContract):
    name = "deit"


class TestClipContract(ScenesContract):
    name = "clip"


@pytest.mark.parametrize("name", MODELS)
def test_every_embedded_model_decomposes_exactly_with_all_parts_reached(name):
    loaded = vd.load_model(f"scenes:{name}", pretrained=False)
    randomise(loaded.module.double())
    x = torch.randn(3, 3, 64, 64, dtype=torch.float64)
    dec = vd.Decomposer(loaded).fit(x[:1])
    c = dec.transform(x)
    with torch.no_grad():
        torch.testing.assert_close(c.total(), loaded.representation()(x), rtol=1e-11, atol=1e-11)
    assert float(c.error.max()) < 1e-12
    assert not dec.report_.missing
    assert sum(dec.report_.heads.values()) >= 24
    parameters = sum(p.numel() for p in getattr(loaded.module, "visual", loaded.module).parameters())
    assert 1e6 < parameters < 2e6


def test_the_libraries_know_the_models_themselves():
    vd.load_model("scenes:clip", pretrained=False)
    assert timm.create_model("scenes_swin").num_classes == len(CLASSES)
    assert timm.list_models("scenes_*") == [f"scenes_{n}" for n in ("clip_image", "deit", "dino", "maxvit", "swin")]
    assert "scenes-clip" in open_clip.list_models()
    assert vd.load_model("timm:scenes_dino", pretrained=False).module.num_classes == 0
    assert vd.load_model("open_clip:scenes-clip", pretrained=False).input_size == (3, 64, 64)


def test_missing_weights_are_one_clear_line(monkeypatch, tmp_path):
    monkeypatch.setattr("vitdecomp_adapters.scenes.clip.WEIGHTS", tmp_path)
    with pytest.raises(
        vd.LoadError,
        match=r"weights of scenes:deit are missing at .*scenes_training deit` in the repository, or take random ones",
    ):
        vd.load_model("scenes:deit")
