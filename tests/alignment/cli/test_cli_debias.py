"""`vitdecomp debias` as its users run it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch
from commands import in_process, launched

import vitdecomp as vd
from vitdecomp.deploy.debiased import Debiased
from vitdecomp.scenes import SceneDataset

WORDS = ("--spurious", "water,snow,forest,sand", "--core", "circle,heart,star,square")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("debias")
    for split, n in (("train", 60), ("test", 24)):
        SceneDataset(n, 0, split, "waterbirds").write(folder / "scenes" / split)
    return folder


def run(place: Path, *arguments: str, by: Callable[..., CompletedProcess[str]] = in_process) -> CompletedProcess[str]:
    return by(place, "debias", *arguments, "--cache", "cache", "--quiet")


@pytest.mark.parametrize(("model", "by"), [("scenes:clip", launched), ("scenes:deit", in_process)])
def test_the_experiment(place, model, by):
    settings = ("--data", str(place / "scenes"), "--clip", "scenes:clip", "--k", "5", "--seeds", "2", "--subspace")
    out = place / f"{model.partition(':')[2]}.safetensors"
    ran = run(place, model, *WORDS, *settings, "--json", "--out", str(out), by=by)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found["images"] == {"train": 60, "test": 24}
    assert len(found["components"]) == 5
    scores = [row["score"] for row in found["components"]]
    assert scores == sorted(scores, reverse=True)
    assert [row["representation"] for row in found["summary"]] == [
        "before",
        "after",
        "random",
        "core words",
        "random directions",
    ]
    assert len(found["runs"]) == 2
    assert len(found["runs"][0]["before"]["groups"]) == 4
    module, original = Debiased.load(out), vd.load_model(model)
    images = torch.rand(2, *original.input_size)
    assert module(images).shape == (2, 2)
    assert module.program.places
    assert not module(images).requires_grad
    with module.handle:
        whole = vd.Decomposer(original).fit(images).represent(images) @ module.head.weight.T + module.head.bias
        torch.testing.assert_close(module(images), whole, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(module(images), whole, atol=1e-3)


@pytest.mark.parametrize("directions", ["2", "singular:1"])
def test_units_are_removed(place, directions):
    out = place / "units.safetensors"
    settings = ("--data", str(place / "scenes"), "--k", "20", "--seeds", "1", "--directions", directions)
    ran = run(place, "scenes:clip", *WORDS, *settings, "--json", "--out", str(out))
    assert ran.returncode == 0, ran.stderr
    names = [row["component"] for row in json.loads(ran.stdout)["components"]]
    assert len(names) == 20
    assert any(".dir.0" in name for name in names)
    module, original = Debiased.load(out), vd.load_model("scenes:clip")
    images = torch.rand(2, *original.input_size)
    cleaned = module(images)
    assert module.program.places
    with module.handle:
        assert not torch.allclose(module(images), cleaned, atol=1e-3)


def test_mistakes_are_one_line(place):
    data = ("--data", str(place / "scenes"))
    cases = {
        ("scenes:clip", "--spurious", ",", "--core", "star", *data): "--spurious needs words",
        ("scenes:clip", *WORDS, *data, "--k", "ten"): "positive number or auto",
        ("scenes:clip", *WORDS, *data, "--k", "900"): "--top 900: there are",
        (
            "scenes:clip",
            *WORDS,
            "--data",
            str(place / "scenes" / "train" / "labels.csv"),
        ): "in the split test: there are train",
        ("scenes:clip", *WORDS, *data, "--zero-shot", "round"): "needs a text for each class",
        ("scenes:clip", *WORDS, *data, "--zero-shot", "a,b", "--own-head"): "give --own-head or --zero-shot",
        (
            "scenes:deit",
            *WORDS,
            *data,
            "--zero-shot",
            "a,b",
            "--clip",
            "scenes:clip",
        ): "needs a model that reads texts itself",
        ("scenes:clip", *WORDS, *data, "--directions", "x:2"): "principal:K or singular:K",
        ("scenes:clip", *WORDS, *data, "--directions", "2", "--subspace"): "units are removed whole",
        ("scenes:clip", *WORDS, *data, "--out", "no/such/place"): "there is no directory",
        ("scenes:clip", *WORDS, *data, "--out", "m", "--value", "resample"): "a module cannot have --value resample",
    }
    zero_shot = run(place, "scenes:clip", *WORDS, *data, "--zero-shot", "a star,a circle", "--k", "3", "--json")
    assert len(json.loads(zero_shot.stdout)["components"]) == 3
    assert_refused(run(place, "scenes:deit", *WORDS, *data), "give --clip, or --maps")
    for arguments, message in cases.items():
        assert_refused(run(place, *arguments), message)


def assert_refused(ran: CompletedProcess[str], message: str) -> None:
    assert ran.returncode == 2, ran.stderr
    assert message in ran.stderr
    assert "Traceback" not in ran.stderr
    assert len(ran.stderr.strip().splitlines()) == 1
