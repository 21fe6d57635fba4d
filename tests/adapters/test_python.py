"""Models of one's own, by `python:module:factory`."""

import sys

import pytest
import torch

import vitdecomp as vd

OWN = """
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn
import vitdecomp as vd

class Mean(nn.Module):
    def forward(self, x):
        return x.mean((2, 3))

instance = Mean()

def timm_model(pretrained=True, depth=1):
    model = VisionTransformer(img_size=32, patch_size=8, embed_dim=48, depth=depth, num_heads=4)
    model.was_pretrained = pretrained
    return model

def loaded():
    return vd.LoadedModel(Mean(), None, "mine", input_size=(3, 8, 8))

def number():
    return 3

def fails():
    raise RuntimeError("no such\\nthing")

constant = 3
"""


@pytest.fixture(autouse=True)
def own(tmp_path, monkeypatch):
    (tmp_path / "own_models.py").write_text(OWN)
    (tmp_path / "broken_models.py").write_text("import not_installed_at_all")
    (tmp_path / "wrong_models.py").write_text("1 / 0")
    monkeypatch.chdir(tmp_path)
    before, modules = list(sys.path), set(sys.modules)
    yield
    assert sys.path == before
    for name in set(sys.modules) - modules:
        if name.endswith("_models"):
            del sys.modules[name]


@pytest.mark.parametrize("factory", ["Mean", "loaded", "instance"])
def test_a_class_a_function_or_a_module_will_do(factory):
    loaded = vd.load_model(f"python:own_models:{factory}")
    assert loaded.spec == f"python:own_models:{factory}"
    assert torch.equal(loaded.representation()(torch.ones(1, 3, 8, 8)), torch.ones(1, 3))


def test_what_a_loaded_model_says_is_kept():
    assert vd.load_model("python:own_models:loaded").input_size == (3, 8, 8)


def test_a_timm_model_out_of_a_factory_is_a_timm_model():
    loaded = vd.load_model("python:own_models:timm_model", pretrained=False, depth=2)
    assert set(loaded.outputs) == {"embedding", "logits"}
    assert len(loaded.module.blocks) == 2
    assert not loaded.module.was_pretrained
    assert not loaded.module.training


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("own_model:Mean", vd.SpecError, "no module 'own_model'"),
        ("own_models:Men", vd.SpecError, "did you mean Mean"),
        ("own_models", vd.SpecError, "names no factory.*Mean"),
        ("own_models:constant", vd.SpecError, "is a int, not a function"),
        ("own_models:number", vd.SpecError, "returned a int"),
        ("own_models:fails", vd.LoadError, r"fails\(\) failed: RuntimeError: no such$"),
        ("broken_models:f", vd.LoadError, "importing broken_models failed.*not_installed_at_all"),
        ("wrong_models:f", vd.LoadError, "ZeroDivisionError"),
        ("own_models:Mean", vd.LoadError, "unexpected keyword argument 'x'|takes no arguments"),
    ],
)
def test_what_cannot_be_loaded_is_one_line(name, error, message):
    options = {"x": 1} if name == "own_models:Mean" else {}
    with pytest.raises(error, match=message):
        vd.load_model(f"python:{name}", **options)
