"""Files with weights: read without running code, matched by name, and complete."""

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn
from vitdecomp_adapters import checkpoint

import vitdecomp as vd

TINY = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 4}
NAME = "vit_tiny_patch16_224"
SPEC = f"timm:{NAME}"


def vit(**changes):
    torch.manual_seed(len(changes))
    return timm.create_model(NAME, **{**TINY, "num_classes": 7, **changes}).eval()


@pytest.fixture(scope="module")
def weights():
    return vit().state_dict()


def load(path, spec=SPEC, **options):
    options = options if spec.startswith("python") else {**TINY, **options}
    return vd.load_model(spec, checkpoint_path=path, **options)


def saved(tensors, place, name="weights.safetensors"):
    save_file({key: tensor.clone() for key, tensor in tensors.items()}, str(place / name))
    return place / name


def same(module, tensors):
    return all(torch.equal(tensor, tensors[name]) for name, tensor in module.state_dict().items())


@pytest.mark.parametrize(("made", "classes"), [({}, 7), ({"num_classes": 3}, 3), ({"num_classes": 0}, 0)])
def test_the_number_of_classes_follows_from_the_file(made, classes, tmp_path):
    tensors = vit(**made).state_dict()
    loaded = load(saved(tensors, tmp_path))
    assert loaded.module.num_classes == classes
    assert same(loaded.module, tensors)
    assert (loaded.classifier is None) == (classes == 0)
    assert loaded.weights == "trained"


def test_a_number_of_classes_that_is_given_has_to_fit(weights, tmp_path):
    with pytest.raises(vd.LoadError, match=r"head\.weight: \(7, 48\) in the file, \(9, 48\) in the model"):
        load(saved(weights, tmp_path), num_classes=9)


PREFIXES = ["module.", "_orig_mod.", "model.", "backbone.", "teacher.backbone.", "module.base_model.model.", "x.y."]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_prefix_of_all_names_is_left_off_and_said(prefix, weights, tmp_path, caplog):
    loaded = load(saved({f"{prefix}{name}": t for name, t in weights.items()}, tmp_path))
    assert same(loaded.module, weights)
    assert loaded.notes == (f"names in weights.safetensors begin with {prefix!r}, which was left off",)
    assert f"{SPEC}: {loaded.notes[0]}" in caplog.messages


def test_names_that_fit_are_taken_as_they_are(weights, tmp_path):
    assert load(saved(weights, tmp_path)).notes == ()


def test_a_prefix_does_not_hide_what_is_missing(weights, tmp_path):
    some = {f"module.{name}": t for name, t in weights.items() if name != "blocks.1.attn.qkv.weight"}
    with pytest.raises(
        vd.LoadError, match=r"1 of the model's parameters are not in it \(blocks\.1\.attn\.qkv\.weight\)$"
    ):
        load(saved(some, tmp_path))


def test_of_teacher_and_student_the_teacher_is_taken_and_the_rest_named(weights, tmp_path):
    state = {
        "student": {f"module.backbone.{name}": t + 1 for name, t in weights.items()},
        "teacher": {f"backbone.{name}": t for name, t in weights.items()},
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}},
        "epoch": 3,
    }
    as_torch(state)(tmp_path / "checkpoint.pth")
    loaded = load(tmp_path / "checkpoint.pth")
    assert same(loaded.module, weights)
    told = " ".join(loaded.notes)
    assert "'teacher.backbone.', which was left off" in told
    assert "after 'student.module.backbone.' in checkpoint.pth would have fitted too" in told


def test_what_does_not_fit_is_counted_and_named(weights, tmp_path):
    tensors = dict(weights)
    for i in range(2):
        del (
            tensors[f"blocks.{i}.mlp.fc1.weight"],
            tensors[f"blocks.{i}.mlp.fc1.bias"],
            tensors[f"blocks.{i}.norm1.bias"],
        )
    tensors |= {"decoder.weight": torch.zeros(2), "norm.weight": torch.zeros(5)}
    with pytest.raises(vd.LoadError) as caught:
        load(saved(tensors, tmp_path))
    message = str(caught.value)
    assert "\n" not in message
    assert "6 of the model's parameters are not in it (blocks.0.norm1.bias, blocks.0.mlp.fc1.weight" in message
    assert "and 2 more)" in message
    assert "1 of its tensors have no place in the model (decoder.weight)" in message
    assert "1 have another shape (norm.weight: (5,) in the file, (48,) in the model)" in message


def test_a_deeper_model_does_not_pass_for_a_shallow_one(tmp_path):
    with pytest.raises(vd.LoadError, match=r"12 of its tensors have no place in the model \(blocks\.2\."):
        load(saved(vit(depth=3).state_dict(), tmp_path))


def as_torch(state):
    """A function that writes a file as other people's scripts do."""
    return lambda path: torch.save(state, path)  # noqa: TID251


class Unsafe:
    def __reduce__(self):
        return (pytest.fail, ("code of a file was run",))


def torchscript(path):
    torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)).save(path)


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("code.pth", as_torch({"a": Unsafe()}), "nor a file of tensors alone; where you trust it, convert"),
        ("script.pt", torchscript, "it is TorchScript; save the tensors alone"),
        ("empty.pth", as_torch({"epoch": 1}), "there are no tensors in it"),
        ("list.pth", as_torch([1]), "AttributeError"),
        ("text.safetensors", lambda p: p.write_text("no weights at all"), "SafetensorError"),
        ("text.bin", lambda p: p.write_text("no weights at all"), "not safetensors"),
        ("nothing.safetensors", lambda p: p.write_bytes(b""), "SafetensorError"),
    ],
)
@pytest.mark.parametrize("spec", [SPEC, "torchvision:resnet18", "open_clip:ViT-B-32"])
def test_a_file_that_is_no_weights_is_one_line(name, write, message, spec, tmp_path):
    write(tmp_path / name)
    with pytest.raises(vd.LoadError, match=rf"checkpoint .*{name} does not fit {spec}: .*{message}") as caught:
        checkpoint.read(str(tmp_path / name), spec)
    assert "\n" not in str(caught.value)


def test_parameters_with_two_names_are_filled_by_one():
    module = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    module["b"].weight = module["a"].weight
    given = {"a.weight": torch.ones(2, 2), "a.bias": torch.ones(2), "b.bias": torch.zeros(2)}
    assert checkpoint._compare(given, module).problems == 0
    del given["b.bias"]
    assert checkpoint._compare(given, module).missing == ("b.bias",)


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
def test_weights_of_half_precision_fill_a_model_of_single(precision, weights, tmp_path):
    loaded = load(saved({name: t.to(precision) for name, t in weights.items()}, tmp_path))
    assert loaded.module.head.weight.dtype == torch.float32
    assert torch.equal(loaded.module.head.weight, weights["head.weight"].to(precision).float())
