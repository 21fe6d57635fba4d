"""Maps in folders and on the hub: the same file everywhere, chosen by the model; nothing else is fetched."""

import os
import shutil
import subprocess
import sys

import pytest
import torch
import yaml
from commands import COMMAND
from hub_server import serving
from huggingface_hub import ModelCard
from vitdecomp_alignment import ClosedForm, CompAlign, load_aligner
from vitdecomp_alignment.aligners.card import base_model

import vitdecomp as vd
from vitdecomp.provenance import Origin

REPOSITORY = "someone/maps-of-vit"
ASK = """
import sys
import vitdecomp as vd
from vitdecomp_alignment import load_aligner
try:
    aligner = load_aligner(*sys.argv[1:])
    print(type(aligner).__name__, aligner.origin_.model)
except vd.VitdecompError as error:
    sys.exit(str(error))
"""


def fitted(model="timm:vit_tiny.in1k", seed=0):
    source = torch.Generator().manual_seed(seed)
    components = (vd.Component("b.attn.head.0", "attn"), vd.Component("b.mlp", "mlp"))
    values = torch.randn(30, 2, 6, generator=source)
    c = vd.Contributions(values, components, torch.zeros(30, dtype=torch.float64), origin=Origin(model, f"w{seed}"))
    aligner = ClosedForm().fit(c, c.total()[:, :4])
    aligner.target_ = Origin("scenes:clip", "t")
    return aligner


def ask(*words, **environment):
    """Load maps in a process of its own, as the hub's library reads its environment when it is imported."""
    done = subprocess.run(
        [sys.executable, "-c", ASK, *map(str, words)],
        env={**os.environ, "HF_HUB_DISABLE_XET": "1", **{k: str(v) for k, v in environment.items()}},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


def in_cache(home, aligner, repository=REPOSITORY, name="."):
    """A cache of the hub as its own library leaves it, with maps at `main`."""
    commit = "a" * 40
    place = home / "hub" / f"models--{repository.replace('/', '--')}"
    (place / "refs").mkdir(parents=True, exist_ok=True)
    (place / "refs" / "main").write_text(commit)
    aligner.save_pretrained(place / "snapshots" / commit / name)


def test_a_folder_holds_the_file_that_save_writes_and_a_card(tmp_path):
    aligner = fitted()
    aligner.save(tmp_path / "alone.safetensors")
    aligner.save_pretrained(tmp_path / "deep" / "maps")
    folder = tmp_path / "deep" / "maps"
    assert {path.name for path in folder.iterdir()} == {"maps.safetensors", "README.md"}
    assert (folder / "maps.safetensors").read_bytes() == (tmp_path / "alone.safetensors").read_bytes()
    read = ClosedForm.from_pretrained(folder)
    assert torch.equal(read.weights_, aligner.weights_)
    assert read.get_params() == aligner.get_params()
    assert isinstance(load_aligner(folder), ClosedForm)
    with pytest.raises(vd.InputError, match="holds a ClosedForm, not a CompAlign"):
        CompAlign.from_pretrained(folder)


def test_the_card_has_metadata_that_the_hub_reads(tmp_path):
    fitted().save_pretrained(tmp_path)
    data = ModelCard.load(tmp_path / "README.md").data
    assert data.library_name == "vitdecomp"
    assert data.base_model == "timm/vit_tiny.in1k"
    assert data.tags == ["vitdecomp", "vitdecomp-maps-of:timm:vit_tiny.in1k"]
    text = (tmp_path / "README.md").read_text()
    for told in ("ClosedForm.from_pretrained", "scenes:clip", "| components | 2 |", "w0"):
        assert told in text


def test_a_card_that_is_there_stays(tmp_path):
    (tmp_path / "README.md").write_text("my own words")
    fitted().save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "my own words"


def test_names_on_a_card_are_text(tmp_path):
    fitted('timm:<script>alert(1)</script> | x\n---\nlicense: "mit"').save_pretrained(tmp_path)
    text = (tmp_path / "README.md").read_text()
    _, front, page = text.split("---\n", 2)
    assert set(yaml.safe_load(front)) == {"library_name", "tags"}
    assert "\\<script\\>" in page
    assert "<script>" not in page


@pytest.mark.parametrize(
    ("spec", "repository"),
    [
        ("timm:vit_tiny.in1k", "timm/vit_tiny.in1k"),
        ("hf:google/vit-base-patch16-224", "google/vit-base-patch16-224"),
        ("timm:vit_tiny", None),
        ("timm:hf-hub:someone/vit.x", None),
        ("open_clip:ViT-B-16/openai", None),
        ("python:module:factory", None),
    ],
)
def test_the_base_model_is_a_repository_where_the_spec_tells_one(spec, repository):
    assert base_model(spec) == repository


def test_of_several_maps_those_of_the_model_are_taken(tmp_path):
    for i, model in enumerate(("timm:a.x", "timm:b.x")):
        fitted(model, i).save_pretrained(tmp_path / f"maps-{i}")
    assert load_aligner(tmp_path, "timm:b.x").origin_ == Origin("timm:b.x", "w1")
    with pytest.raises(vd.SpecError, match=r"holds maps of timm:a\.x, timm:b\.x: say of which"):
        load_aligner(tmp_path)
    with pytest.raises(vd.InputError, match=r"no maps of timm:c\.x, but of timm:a\.x, timm:b\.x"):
        load_aligner(tmp_path, "timm:c.x")
    fitted("timm:b.x", 2).save_pretrained(tmp_path / "maps-2")
    with pytest.raises(vd.SpecError, match=r"several maps of timm:b\.x: give one of .*maps-1.*maps-2"):
        load_aligner(tmp_path, "timm:b.x")


def test_a_folder_without_maps_says_what_is_missing(tmp_path):
    with pytest.raises(vd.InputError, match=r"a folder of maps has a file maps\.safetensors"):
        load_aligner(tmp_path)


def test_the_cache_of_the_hub_is_read_offline(tmp_path):
    in_cache(tmp_path, fitted())
    offline = {"HF_HOME": tmp_path, "HF_HUB_OFFLINE": 1}
    assert ask(f"hf:{REPOSITORY}", **offline) == "ClosedForm timm:vit_tiny.in1k"
    missing = ask("hf:someone/else", **offline)
    assert missing.startswith("cannot get the maps of hf:someone/else: the hub cannot be reached and they are not in")
    assert "HF_HUB_OFFLINE=1" in missing
    searched = ask("hf:auto", "timm:vit_tiny.in1k", **offline)
    assert searched.startswith(
        "cannot get the list of maps of timm:vit_tiny.in1k: the hub cannot be reached. Give a local"
    )
    assert "write hf:ORGANIZATION/NAME" in ask("hf:a/b/c", **offline)


def test_a_repository_may_hold_maps_of_several_models(tmp_path):
    for i, model in enumerate(("timm:a.x", "timm:b.x")):
        in_cache(tmp_path, fitted(model, i), name=f"maps-{i}")
    told = ask(f"hf:{REPOSITORY}", "timm:b.x", HF_HOME=tmp_path, HF_HUB_OFFLINE=1)
    assert told == "ClosedForm timm:b.x"


def test_a_hub_is_searched_by_the_model_and_nothing_but_maps_is_fetched(tmp_path):
    place = tmp_path / "served" / REPOSITORY
    fitted("timm:a.x").save_pretrained(place)
    (place / "modeling.py").write_text("raise SystemExit('code of a repository was run')")
    (place / "weights.bin").write_bytes(b"a pickle")
    fitted("timm:b.x", 1).save_pretrained(tmp_path / "served" / "someone" / "other")
    with serving(tmp_path / "served") as (address, asked):
        there = {"HF_ENDPOINT": address, "HF_HOME": tmp_path / "home"}
        assert ask("hf:auto", "timm:a.x", **there) == "ClosedForm timm:a.x"
        fetched = {path.name for path in (tmp_path / "home").rglob("snapshots/*/*")}
        assert fetched == {"maps.safetensors"}
        assert not [path for path in asked if "modeling" in path or "weights.bin" in path]
        assert "the hub has no maps of timm:c.x: make them with `vitdecomp align`" in ask(
            "hf:auto", "timm:c.x", **there
        )
        shutil.copytree(place, tmp_path / "served" / "someone" / "copy")
        several = ask("hf:auto", "timm:a.x", **there)
        assert "several maps of timm:a.x: give one of hf:someone/copy, hf:someone/maps-of-vit" in several
    assert ask(f"hf:{REPOSITORY}", **there) == "ClosedForm timm:a.x"  # the hub is gone, its cache is not


def test_the_command_says_in_one_line_that_maps_are_not_to_be_had(tmp_path):
    words = ["rank", "scenes:deit", "--maps", f"hf:{REPOSITORY}", "--clip", "scenes:clip", "--limit", "10"]
    done = subprocess.run(
        [COMMAND, *words],
        env={**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"cannot get the maps of hf:{REPOSITORY}" in done.stderr
