"""timm models: what is loaded, what is recognised, what is refused."""

import pytest
import timm
import torch
from torch import nn
from vitdecomp_adapters.timm import TimmAdapter

import vitdecomp as vd
from vitdecomp.testing import AdapterContract

TINY = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 4}
TINY_SWIN = {"img_size": 32, "window_size": 4, "depths": (1, 1), "num_heads": (2, 4), "embed_dim": 16}


class TestContract(AdapterContract):
    adapter = TimmAdapter
    name = "vit_tiny_patch16_224"
    options = TINY
    unknown = "vit_tinny_patch16_224"


class TestSwinContract(AdapterContract):
    adapter = TimmAdapter
    name = "swin_tiny_patch4_window7_224"
    options = TINY_SWIN


def vit(**changes):
    return timm.models.vision_transformer.VisionTransformer(**{**TINY, **changes}).eval()


def test_embedding_is_what_the_classifier_reads():
    loaded = vd.load_model("timm:vit_tiny_patch16_224", pretrained=False, **TINY)
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        embedding, logits = (loaded.representation(o)(x) for o in ("embedding", "logits"))
        assert torch.allclose(loaded.module.head(embedding), logits)
        assert torch.equal(logits, loaded.module(x))


def test_preprocessing_has_the_size_that_the_model_was_built_for():
    loaded = vd.load_model("timm:vit_tiny_patch16_224", pretrained=False, img_size=96)
    assert loaded.input_size == (3, 96, 96)


def test_a_module_made_without_vitdecomp_gives_its_embedding():
    module = vit(num_classes=7)
    known = TimmAdapter().recognise(module)
    assert known.input_size == (3, 32, 32)
    assert known.representation()(torch.randn(2, 3, 32, 32)).shape == (2, 48)


class Extended(timm.models.vision_transformer.VisionTransformer):
    """A subclass with a `forward` of its own, which is then what its user wants decomposed."""

    def __init__(self):
        super().__init__(**TINY)
        self.projection = nn.Linear(48, 5)

    def forward(self, x):
        return self.projection(self.forward_head(self.forward_features(x), pre_logits=True))


class Foreign(nn.Module):
    """timm's protocol without timm."""

    def forward_features(self, x):
        return x.flatten(2).transpose(1, 2)

    def forward_head(self, x, pre_logits=False):
        return x.mean(1) if pre_logits else x.sum(1)

    def forward(self, x):
        return self.forward_head(self.forward_features(x))


def test_a_forward_of_ones_own_is_not_replaced_by_the_embedding():
    assert TimmAdapter().recognise(Extended()) is None
    assert vd.Decomposer(Extended().eval()).fit(torch.randn(1, 3, 32, 32)).report_.dimension == 5


def test_the_protocol_makes_a_timm_model():
    assert set(TimmAdapter().recognise(Foreign()).outputs) == {"embedding", "logits"}


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("deit_tiny_patch16_244", "deit_tiny_patch16_224"),
        ("deit_tiny_patch16_224.fb_in2k", "deit_tiny_patch16_224.fb_in1k"),
    ],
)
def test_an_unknown_name_suggests_the_nearest(name, suggestion):
    with pytest.raises(vd.SpecError, match=f"did you mean.*{suggestion}"):
        vd.load_model(f"timm:{name}", pretrained=False)


def test_an_option_that_the_model_does_not_take_is_refused():
    with pytest.raises(vd.SpecError, match="unexpected keyword argument 'depht'"):
        vd.load_model("timm:vit_tiny_patch16_224", pretrained=False, depht=3)


def test_a_checkpoint_is_loaded(tmp_path):
    from safetensors.torch import save_model

    module = timm.create_model("vit_tiny_patch16_224", **TINY)
    save_model(module, str(tmp_path / "weights.safetensors"))
    loaded = vd.load_model("timm:vit_tiny_patch16_224", checkpoint_path=tmp_path / "weights.safetensors", **TINY)
    assert loaded.pretrained
    assert all(torch.equal(a, b) for a, b in zip(loaded.module.parameters(), module.parameters(), strict=True))


def test_a_checkpoint_that_does_not_fit_is_one_line(tmp_path):
    (tmp_path / "weights.pt").write_text("no weights")
    with pytest.raises(vd.LoadError, match=r"weights\.pt does not fit timm:vit_tiny_patch16_224") as caught:
        vd.load_model("timm:vit_tiny_patch16_224", checkpoint_path=tmp_path / "weights.pt")
    assert "\n" not in str(caught.value)
    with pytest.raises(vd.LoadError, match="is not a file"):
        vd.load_model("timm:vit_tiny_patch16_224", checkpoint_path=tmp_path / "missing.pt")


def test_names_are_architectures_or_with_a_dot_trained_models():
    names = TimmAdapter().names
    assert "deit_tiny_patch16_224" in names("deit_tiny*")
    assert "deit_tiny_patch16_224.fb_in1k" in names("deit_tiny*.*")
