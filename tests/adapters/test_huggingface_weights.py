"""Models of transformers from folders: what no file fills is an error where the embedding depends on it."""

import json
import os
import pickle  # noqa: TID251 - to show that none is run

import pytest
import torch
import transformers
from helpers import pictures, randomised
from safetensors.torch import load_file, save_file

import vitdecomp as vd
from vitdecomp._utils.hub import quiet

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "image_size": 32,
    "patch_size": 8,
}
VIT = transformers.ViTConfig(**SIZES, num_labels=3)
DEIT = transformers.DeiTConfig(**SIZES, num_labels=3)
MAE = transformers.ViTMAEConfig(
    **SIZES,
    decoder_hidden_size=16,
    decoder_num_hidden_layers=1,
    decoder_num_attention_heads=2,
    decoder_intermediate_size=16,
)
X = pictures(2, 32).float()
RENAMES = pytest.mark.skipif(
    int(transformers.__version__.split(".")[0]) < 5, reason="older versions tell names that are not those of the file"
)
WITHOUT_POOLER = {
    "classifier": lambda: transformers.ViTForImageClassification(VIT),
    "deit classifier": lambda: transformers.DeiTForImageClassification(DEIT),
    "masked images": lambda: transformers.ViTForMaskedImageModeling(VIT),
    "masked autoencoder": lambda: transformers.ViTMAEForPreTraining(MAE),
    "no pooler": lambda: transformers.ViTModel(VIT, add_pooling_layer=False),
}


def saved(module, place, **options):
    randomised(module).float().save_pretrained(place, **options)
    return f"hf:{place}"


@pytest.fixture(scope="module")
def classifier():
    return randomised(transformers.ViTForImageClassification(VIT)).float()


@pytest.fixture
def folder(classifier, tmp_path):
    classifier.save_pretrained(tmp_path)
    return tmp_path


def rewrite(folder, change):
    """Change the tensors of a folder's only file."""
    file = folder / "model.safetensors"
    save_file(change(load_file(file)), file, metadata={"format": "pt"})


def configure(folder, **settings):
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))


def embedding(spec, **options):
    loaded = vd.load_model(spec, **options)
    assert loaded.pretrained
    with torch.no_grad():
        return loaded, loaded.representation()(X)


@pytest.mark.parametrize("name", WITHOUT_POOLER)
def test_no_pooler_is_invented(name, tmp_path):
    spec = saved(WITHOUT_POOLER[name](), tmp_path)
    loaded, first = embedding(spec)
    assert torch.equal(first, embedding(spec)[1])
    assert not any("pooler" in note for note in loaded.notes[:1])


def test_without_a_pooler_the_embedding_is_the_class_token(classifier, folder):
    with torch.no_grad():
        expected = classifier.vit(X).last_hidden_state[:, 0]
    assert torch.equal(embedding(f"hf:{folder}")[1], expected)
    configure(folder, architectures=None)  # the bare model, which makes a pooler of random weights
    loaded, got = embedding(f"hf:{folder}")
    assert loaded.module.pooler is not None
    assert torch.equal(got, expected)
    assert any("pooler.dense.weight" in note for note in loaded.notes)


def test_a_pooler_with_weights_is_used(tmp_path):
    module = randomised(transformers.ViTModel(VIT)).float()
    module.save_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(embedding(f"hf:{tmp_path}")[1], module(X).pooler_output)


def test_half_of_the_layers_is_an_error_that_names_what_is_missing(folder):
    rewrite(folder, lambda tensors: {name: t for name, t in tensors.items() if "layer.1." not in name})
    with pytest.raises(vd.LoadError, match=r"no file fills vit\..*\.1\..* and \d+ more") as caught:
        vd.load_model(f"hf:{folder}")
    assert "\n" not in str(caught.value)
    assert vd.load_model(f"hf:{folder}", pretrained=False).pretrained is False


@RENAMES
def test_of_all_ways_to_read_the_names_the_one_that_fills_most_is_reported(folder):
    rewrite(folder, lambda tensors: {f"module.{n}": t for n, t in tensors.items() if "layernorm.bias" not in n})
    with pytest.raises(vd.LoadError, match=r"no file fills vit\.layernorm\.bias, .* begin with 'module\.'"):
        vd.load_model(f"hf:{folder}")


def test_a_single_parameter_and_a_wrong_shape_are_errors(folder):
    rewrite(folder, lambda tensors: {name: t for name, t in tensors.items() if name != "vit.layernorm.bias"})
    with pytest.raises(vd.LoadError, match=r"no file fills vit\.layernorm\.bias, on which the embedding depends"):
        vd.load_model(f"hf:{folder}")
    rewrite(folder, lambda tensors: {**tensors, "vit.layernorm.bias": torch.zeros(5)})
    for options in ({}, {"ignore_mismatched_sizes": True}):
        with pytest.raises(
            vd.LoadError, match=r"layernorm\.bias \(of (shape \(5,\) instead of \(32,\)|another shape)\)"
        ):
            vd.load_model(f"hf:{folder}", **options)


def test_statistics_of_a_batch_norm_count_too(tmp_path):
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], num_labels=3)
    spec = saved(transformers.ResNetForImageClassification(config), tmp_path)
    assert vd.load_model(spec).pretrained
    rewrite(
        tmp_path,
        lambda tensors: {n: t for n, t in tensors.items() if "embedder.embedder" not in n or "running_mean" not in n},
    )
    with pytest.raises(vd.LoadError, match=r"no file fills resnet\.embedder\.embedder\.normalization\.running_mean,"):
        vd.load_model(spec)


def test_what_the_embedding_does_not_depend_on_may_be_missing_and_is_said(classifier, folder):
    rewrite(folder, lambda tensors: {n: t for n, t in tensors.items() if "classifier" not in n} | {"more": X})
    loaded, got = embedding(f"hf:{folder}")
    with torch.no_grad():
        assert torch.equal(got, classifier.vit(X).last_hidden_state[:, 0])
    assert set(loaded.outputs) == {"embedding"}
    assert loaded.classifier is None
    assert any("classifier.weight" in note for note in loaded.notes)
    assert any("classifier.weight" in note for note in vd.Decomposer(loaded, cache=None).fit(X).report_.notes)


@RENAMES
@pytest.mark.parametrize(
    ("old", "new"), [("", "module."), ("", "teacher.backbone."), ("", "own.name."), ("vit.", "encoder.")]
)
def test_other_beginnings_of_the_names_are_read_and_said(classifier, folder, old, new):
    rewrite(folder, lambda tensors: {n.replace(old, new, 1) if n.startswith(old) else n: t for n, t in tensors.items()})
    loaded, got = embedding(f"hf:{folder}")
    with torch.no_grad():
        assert torch.equal(got, classifier.vit(X).last_hidden_state[:, 0])
        assert torch.equal(loaded.representation("logits")(X), classifier(X).logits)
    assert any(f"begin with {new!r}" in note for note in loaded.notes)


@RENAMES
def test_of_a_teacher_and_a_student_the_teacher_is_read_and_of_any_other_two_none(classifier, folder):
    def two(one, other):
        return lambda tensors: {p + n: t * f for n, t in tensors.items() for p, f in ((one, 1.0), (other, 2.0))}

    original = load_file(folder / "model.safetensors")
    rewrite(folder, two("teacher.", "student."))
    with torch.no_grad():
        assert torch.equal(embedding(f"hf:{folder}")[1], classifier.vit(X).last_hidden_state[:, 0])
    rewrite(folder, lambda _: two("a.", "b.")(original))
    with pytest.raises(vd.LoadError, match=r"several models, whose names begin with a\., b\."):
        vd.load_model(f"hf:{folder}")


def test_names_that_mean_nothing_are_shown(folder):
    rewrite(folder, lambda tensors: {f"w{i}": t for i, t in enumerate(tensors.values())})
    with pytest.raises(vd.LoadError, match=r"The files hold other names, such as (vit\.)?w0, (vit\.)?w1, "):
        vd.load_model(f"hf:{folder}")


def test_shards_and_tensors_in_a_pickle_are_read(classifier, folder, tmp_path):
    expected = embedding(f"hf:{folder}")[1]
    shards = tmp_path / "shards"
    classifier.save_pretrained(shards, max_shard_size="20KB")
    assert len(list(shards.glob("*.safetensors"))) > 1
    assert torch.equal(embedding(f"hf:{shards}")[1], expected)


class Code:
    """What runs when it is unpickled."""

    def __init__(self, place):
        self.place = str(place)

    def __reduce__(self):
        return os.mkdir, (self.place,)


def test_code_in_a_pickle_is_not_run_and_an_option_cannot_make_it(folder):
    (folder / "model.safetensors").unlink()
    with (folder / "pytorch_model.bin").open("wb") as file:
        pickle.dump({"vit.layernorm.bias": Code(folder / "ran")}, file)
    with pytest.raises(
        vd.LoadError, match=r"cannot get the trained weights .*(nor a file of tensors alone|pytorch_model\.bin)"
    ):
        vd.load_model(f"hf:{folder}")
    for option in ("trust_remote_code", "weights_only", "use_safetensors"):
        with pytest.raises(vd.SpecError, match=f"option {option} cannot be set"):
            vd.load_model(f"hf:{folder}", **{option: False})
    assert not (folder / "ran").exists()


BROKEN = [
    {"image_size": 10**6},
    {"image_size": "big"},
    {"image_size": [1, 2, 3]},
    {"hidden_size": None},
    {"hidden_size": -32},
    {"architectures": 5},
]


@pytest.mark.parametrize("settings", BROKEN, ids=str)
def test_a_broken_configuration_is_one_line(folder, settings):
    configure(folder, **settings)
    with pytest.raises(vd.VitdecompError) as caught:
        vd.load_model(f"hf:{folder}", pretrained=False)
    assert "\n" not in str(caught.value)


def test_an_architecture_of_another_kind_is_not_taken(folder):
    configure(folder, architectures=["BertModel", "AutoModel", "pipeline", "ViTForImageClassification"])
    assert type(vd.load_model(f"hf:{folder}").module) is transformers.ViTForImageClassification


def test_adapters_alone_are_refused_since_their_file_names_another_model(folder):
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "someone/else"}))
    with pytest.raises(vd.LoadError, match="adapters of peft"):
        vd.load_model(f"hf:{folder}")


@pytest.mark.parametrize("where", ["{}/none", "./none", "~/none/such", "a/b/c"])
def test_a_folder_that_is_not_there_is_called_so(tmp_path, where):
    with pytest.raises(vd.LoadError, match=r"the folder .* does not exist") as caught:
        vd.load_model(f"hf:{where.format(tmp_path)}")
    assert "hub" not in str(caught.value)


def test_a_file_is_no_folder_and_a_name_may_be_either(folder):
    with pytest.raises(vd.LoadError, match="is a file; give the folder"):
        vd.load_model(f"hf:{folder}/config.json")
    with pytest.raises(vd.LoadError, match="some/one is no folder here, and the hub cannot be reached"):
        vd.load_model("hf:some/one")


def test_a_text_tower_without_weights_reads_no_texts(tmp_path):
    text = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config={**text, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0},
        vision_config=SIZES,
        projection_dim=16,
    )
    spec = saved(transformers.CLIPModel(config), tmp_path)
    assert vd.load_model(spec).encode_text is not None
    rewrite(tmp_path, lambda tensors: {n: t for n, t in tensors.items() if "text" not in n})
    loaded = vd.load_model(spec)
    assert loaded.encode_text is None
    assert any(note.startswith("the text tower is left out") for note in loaded.notes)
    rewrite(tmp_path, lambda tensors: {n: t for n, t in tensors.items() if "visual_projection" not in n})
    with pytest.raises(vd.LoadError, match=r"no file fills visual_projection\.weight"):
        vd.load_model(spec)


def test_adapters_in_a_model_are_looked_through():
    peft = pytest.importorskip("peft")
    with quiet():
        module = transformers.ViTForImageClassification(VIT)
        adapted = peft.get_peft_model(module, peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj", "fc1", "fc2"]))
    randomised(adapted)
    dec = vd.Decomposer(adapted, cache=None).fit(X.double())
    with torch.no_grad():
        expected = adapted.get_base_model().vit(X.double()).last_hidden_state[:, 0]
    total = dec.transform(X.double()).total()
    assert torch.allclose(total, expected, atol=1e-12)
    assert dec.report_.exact
    assert dec.report_.covered
    assert all(name.startswith("vit.") for name in dec.report_.heads)
