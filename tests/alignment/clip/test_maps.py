"""What a file names is never loaded: the CLIP of maps is what the user named, or what a library defines."""

import logging
import sys

import pytest
import torch
from vitdecomp_alignment import ClosedForm
from vitdecomp_alignment.clip.maps import MapsToClip

import vitdecomp as vd
from vitdecomp.models.adapter import is_defined
from vitdecomp.provenance import Origin

CODE = """
from pathlib import Path
import torch
Path("imported").touch()
def factory():
    Path("called").touch()
    return torch.nn.Linear(3, 3)
"""
STRANGE = [
    "python:strangers_module:factory",
    "python:os:abort",
    "hf:someone/clip",
    "timm:hf-hub:someone/vit",
    "timm:hf_hub:someone/vit",
    "timm:local-dir:.",
    "open_clip:hf-hub:someone/clip",
    "open_clip:local-dir:.",
    "open_clip:ViT-B-32/no-such-tag",
    "open_clip:ViT-B-32/weights.pt",
    "open_clip:weights.pt",
    "timm:no_such_model",
    "torchvision:vit_b_16",
    "scenes:../clip",
    "nobody:knows",
    "no spec",
    "",
    ":",
]


def maps(place, clip):
    """Maps whose file claims to lead to a CLIP."""
    values = torch.randn(20, 2, 6, generator=torch.Generator().manual_seed(0))
    components = (vd.Component("a.attn.head.0", "attn"), vd.Component("a.mlp", "mlp"))
    c = vd.Contributions(values, components, torch.zeros(20, dtype=torch.float64))
    aligner = ClosedForm().fit(c, c.total()[:, :4])
    aligner.target_ = None if clip is None else Origin(clip, "abc")
    aligner.save(place / "maps.safetensors")
    return place / "maps.safetensors"


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """A folder with a module that tells when it is imported."""
    (tmp_path / "strangers_module.py").write_text(CODE)
    (tmp_path / "weights.pt").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("strangers_module", None)


def test_what_a_user_is_told_to_type_is_one_word_of_a_shell(trap):
    with pytest.raises(vd.SpecError, match=r"give --clip 'hf:a; touch imported' yourself"):
        MapsToClip.read(maps(trap, "hf:a; touch imported"), clip=None, model="scenes:deit")


@pytest.mark.parametrize("spec", STRANGE)
def test_a_spec_of_a_strangers_choice_is_not_loaded(trap, spec):
    with pytest.raises(vd.SpecError, match="what a file names is not loaded: give --clip") as error:
        MapsToClip.read(maps(trap, spec), clip=None, model="scenes:deit")
    assert f"lead to {spec}," in str(error.value)
    assert not (trap / "imported").exists()


COMMANDS = {
    "describe": (),
    "rank": (),
    "search": ("--text", "a cat"),
    "debias": ("--spurious", "water,land", "--core", "bird"),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("spec", ["python:strangers_module:factory", "hf:someone/clip"])
def test_no_command_loads_it(trap, in_process, command, spec):
    maps(trap, spec)
    done = in_process(trap, command, "scenes:deit", *COMMANDS[command], "--maps", "maps.safetensors", "--cache", ".")
    assert done.returncode == 2
    assert done.stderr.strip() == (
        f"error: maps.safetensors says that its maps lead to {spec}, and what a file names is not loaded: "
        f"give --clip {spec} yourself if you trust it"
    )
    assert not (trap / "imported").exists()


def test_what_the_user_names_is_loaded_and_compared(trap):
    """Which shows that the module would tell."""
    spec = "python:strangers_module:factory"
    for told in ({"clip": spec, "model": "scenes:deit"}, {"clip": None, "model": spec}):
        found = MapsToClip.read(maps(trap, spec), **told)
        assert found.clip == spec
    assert not (trap / "imported").exists()
    with pytest.raises(vd.SpecError, match="has no text encoder"):
        found.space(device="cpu", cache=trap)
    assert (trap / "called").exists()


def test_a_library_s_own_name_is_taken_and_said_and_compared(tmp_path, caplog):
    path = maps(tmp_path, "scenes:clip")
    with caplog.at_level(logging.WARNING):
        found = MapsToClip.read(path, clip=None, model="scenes:deit")
    assert found.clip == "scenes:clip"
    assert caplog.messages == [f"texts are read by scenes:clip, as {path} says (--clip SPEC for another)"]
    with pytest.raises(vd.InputError, match=r"the maps lead to scenes:clip .* with other weights"):
        found.space(device="cpu", cache=tmp_path)


def test_what_the_user_names_comes_before_what_the_file_says(tmp_path, caplog):
    assert MapsToClip.read(maps(tmp_path, "python:os:abort"), clip="scenes:clip", model="x").clip == "scenes:clip"
    assert MapsToClip.read(maps(tmp_path, None), clip="scenes:clip", model="x").clip == "scenes:clip"
    assert not caplog.messages
    with pytest.raises(vd.SpecError, match="does not say which CLIP the maps lead to: give --clip"):
        MapsToClip.read(maps(tmp_path, None), clip=None, model="x")


@pytest.mark.parametrize(
    "spec",
    ["scenes:clip", "scenes:deit", "open_clip:ViT-B-32/openai", "open_clip:ViT-B-32",
     "timm:vit_base_patch16_224", "timm:vit_base_patch16_clip_224.openai"],
)  # fmt: skip
def test_libraries_define_models(spec):
    assert is_defined(spec)


@pytest.mark.parametrize("spec", [*STRANGE, "timm:vit_base_patch16_224\n", "timm:vit_base_patch16_224.no_tag"])
def test_and_no_others(spec):
    assert not is_defined(spec)
