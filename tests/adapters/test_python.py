"""Models of one's own, by `python:module:factory`."""

import json
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


REGISTERED = """
import timm

@timm.models.register_model
def own_registered_model(pretrained=False, img_size=32, **options):
    sizes = dict(img_size=img_size, patch_size=8, embed_dim=48, depth=1, num_heads=4)
    return timm.create_model("vit_tiny_patch16_224", pretrained=pretrained, **sizes, **options)
"""
CHECKED = """
from torch import nn
from timm.models.vision_transformer import VisionTransformer

TINY = dict(img_size=32, patch_size=8, embed_dim=48, depth=1, num_heads=4)

def plain(**options):
    return VisionTransformer(**TINY, num_classes=3)

def needs_weights(pretrained=True):
    if pretrained:
        raise RuntimeError("No pretrained weights exist")
    return VisionTransformer(**TINY, num_classes=3)

def takes_size(image_size=(32, 32)):
    return VisionTransformer(**{**TINY, "img_size": image_size}, num_classes=3)

def takes_file(checkpoint_path=None):
    model = VisionTransformer(**TINY, num_classes=3)
    model.read_from = checkpoint_path
    return model

class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x):
        return {"features": self.layer(x.mean((2, 3)))}
"""


@pytest.fixture
def checked(own, tmp_path):
    """A module with models, and files with weights for them: with other classes, and without any."""
    from safetensors.torch import save_file
    from timm.models.vision_transformer import VisionTransformer

    (tmp_path / "checked_models.py").write_text(CHECKED)
    (tmp_path / "registered_models.py").write_text(REGISTERED)
    tensors = VisionTransformer(
        img_size=32, patch_size=8, embed_dim=48, depth=1, num_heads=4, num_classes=5
    ).state_dict()
    save_file(tensors, str(tmp_path / "weights.safetensors"))
    save_file({"layer.weight": torch.ones(2, 3), "layer.bias": torch.ones(2)}, str(tmp_path / "own.safetensors"))
    return tensors


@pytest.mark.parametrize("factory", ["plain", "needs_weights", "takes_size"])
def test_a_checkpoint_is_loaded_into_what_a_factory_makes(factory, checked, tmp_path):
    loaded = vd.load_model(f"python:checked_models:{factory}", checkpoint_path=tmp_path / "weights.safetensors")
    assert all(torch.equal(tensor, checked[name]) for name, tensor in loaded.module.state_dict().items())
    assert loaded.weights == "trained"
    assert loaded.classifier.layer.out_features == 5
    assert loaded.representation("logits")(torch.zeros(1, 3, 32, 32)).shape == (1, 5)


def test_a_checkpoint_fits_a_module_of_no_library_or_is_refused(checked, tmp_path):
    loaded = vd.load_model("python:checked_models:Own", checkpoint_path=tmp_path / "own.safetensors")
    assert torch.equal(loaded.module.layer.weight, torch.ones(2, 3))
    with pytest.raises(vd.LoadError, match=r"2 of the model's parameters are not in it \(layer\.weight, layer\.bias\)"):
        vd.load_model("python:checked_models:Own", checkpoint_path=tmp_path / "weights.safetensors")
    with pytest.raises(vd.LoadError, match="is not a file"):
        vd.load_model("python:checked_models:Own", checkpoint_path=tmp_path / "nowhere.safetensors")


def test_a_factory_that_takes_a_file_or_a_size_gets_it(checked):
    loaded = vd.load_model("python:checked_models:takes_file", checkpoint_path="somewhere.safetensors")
    assert loaded.module.read_from == "somewhere.safetensors"
    loaded = vd.load_model("python:checked_models:takes_size", image_size=(48, 64))
    assert loaded.input_size == (3, 48, 64)
    assert loaded.representation()(torch.zeros(1, 3, 48, 64)).shape == (1, 48)


@pytest.mark.parametrize("factory", ["plain", "Own"])
def test_weights_of_a_factory_are_not_called_random(factory, checked):
    loaded = vd.load_model(f"python:checked_models:{factory}")
    assert loaded.pretrained is None
    assert loaded.weights == "as the module came, trained or not"


def test_a_factory_without_weights_says_what_does_without(checked):
    with pytest.raises(vd.LoadError, match=r"No pretrained weights exist; --random-weights .* --checkpoint FILE"):
        vd.load_model("python:checked_models:needs_weights")


def test_a_model_that_a_module_registers_is_known_once_it_is_imported(checked, in_process, tmp_path):
    done = in_process(tmp_path, "inspect", "timm:own_registered_model")
    assert done.returncode == 2
    assert "python:module:factory, or --import MODULE" in done.stderr
    words = ["inspect", "timm:own_registered_model", "--import", "registered_models", "--json"]
    done = in_process(tmp_path, *words, "--checkpoint", tmp_path / "weights.safetensors")
    assert (done.returncode, json.loads(done.stdout)["weights"]) == (0, "trained")
    done = in_process(
        tmp_path, "inspect", "python:checked_models:Own", "--output", "features", "--image-size", "8", "--json"
    )
    report = json.loads(done.stdout)
    assert (report["output"], report["dimension"], report["pretrained"]) == ("features", 2, None)
    done = in_process(tmp_path, "inspect", "timm:x", "--import", "no_models")
    assert done.returncode == 2
    assert done.stderr.startswith("error: --import no_models: there is no module 'no_models' in the working directory")


def test_every_command_that_takes_a_model_imports_modules(in_process, tmp_path):
    for command in ("inspect", "extract", "ablate", "demo", "align", "describe", "rank", "search", "debias"):
        assert "--import" in in_process(tmp_path, command, "--help").stdout, command
    assert "--import" not in in_process(tmp_path, "scenes", "--help").stdout
