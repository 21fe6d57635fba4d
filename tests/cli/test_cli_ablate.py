"""`vitdecomp ablate` as its users run it."""

from __future__ import annotations

import json
import subprocess
from importlib.resources import files
from pathlib import Path

from commands import launched
from PIL import Image

from vitdecomp.scenes import SceneDataset


def run(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return launched(tmp_path, "ablate", *arguments, "--cache", "cache", "--quiet")


def test_curves_of_two_models_as_json_and_as_a_figure(tmp_path):
    SceneDataset(24, 0, "test", "waterbirds").write(tmp_path / "scenes")
    figure = tmp_path / "curves.png"
    ran = run(
        tmp_path, "scenes:deit", "scenes:clip", "--images", str(tmp_path / "scenes"), "--figure", str(figure),
        "--draws", "2", "--json",
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    models = json.loads(ran.stdout)
    assert [found["model"] for found in models] == ["scenes:deit", "scenes:clip"]
    for found in models:
        assert [curve["order"] for curve in found["curves"]] == ["last", "first", "score", "random"]
        assert all(len(curve["accuracy"]) == len(curve["units"]) + 1 for curve in found["curves"])
        assert found["images"] == {"train": 12, "test": 12}
    with Image.open(figure) as drawn:
        assert drawn.size[0] > 1000


def test_mistakes_are_one_line(tmp_path, in_process):
    cases = {
        ("scenes:deit", "--order", "lats"): "did you mean last",
        ("scenes:deit", "--figure", "curves.gif"): "must end in .png",
        ("scenes:deit", "--images", "none"): "there is no file or folder",
    }
    for arguments, message in cases.items():
        assert_refused(in_process(tmp_path, "ablate", *arguments, "--cache", "cache", "--quiet"), message)


def assert_refused(ran: subprocess.CompletedProcess[str], message: str) -> None:
    assert ran.returncode == 2
    assert message in ran.stderr
    assert "Traceback" not in ran.stderr
    assert len(ran.stderr.strip().splitlines()) == 1


def test_each_model_has_its_own_weights(tmp_path, in_process):
    weights = files("vitdecomp_adapters.scenes") / "weights"
    SceneDataset(24, 0, "test", "waterbirds").write(tmp_path / "scenes")
    words = ["ablate", "timm:scenes_deit", "--images", tmp_path / "scenes", "--cache", tmp_path / "cache", "--quiet"]
    register = ["--import", "vitdecomp_adapters.scenes.architectures", "--draws", "1", "--json"]
    done = in_process(tmp_path, *words, *register, "--checkpoint", weights / "deit.safetensors")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["model"] == "timm:scenes_deit"
    done = in_process(tmp_path, *words, *register, "--checkpoint", "a.safetensors", "--checkpoint", "b.safetensors")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--checkpoint is given 2 times for 1 models" in done.stderr
