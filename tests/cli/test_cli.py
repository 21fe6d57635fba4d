"""The command as its users run it: what it prints where, and how it refuses."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import networkx as nx
import pytest
import torch
from commands import launched
from forks import Fork, source
from PIL import Image

import vitdecomp

MODELS = """
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

def tiny(depth=2):
    torch.manual_seed(0)
    return VisionTransformer(img_size=32, patch_size=8, embed_dim=48, depth=depth, num_heads=4, num_classes=5)

def nan():
    model = tiny()
    model.norm.weight.data[0] = float("nan")
    return model

class Wrapped(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = tiny()

class Tokens(Wrapped):
    def forward(self, x):
        return self.model.forward_features(x)

class Vector(Wrapped):
    def forward(self, x):
        return self.model(x)

class Text(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(10, 4)

    def forward(self, ids):
        return self.embedding(ids).mean(1)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A working directory with models of one's own and photographs."""
    place = tmp_path_factory.mktemp("place")
    (place / "own.py").write_text(MODELS)
    (place / "photos" / "inner").mkdir(parents=True)
    gradient = Image.linear_gradient("L").convert("RGB")
    for i in range(8):
        folder = "photos/inner" if i > 5 else "photos"
        gradient.rotate(20 * i).save(place / folder / f"{i}.png")
    return place


@pytest.fixture
def run(place, in_process):
    """The command in this process; `launch` is the real thing."""
    return partial(in_process, place)


def command(*arguments):
    return [sys.executable, "-m", "vitdecomp", *map(str, arguments)]


def launch(place, *arguments, **environment):
    plain = {k: v for k, v in os.environ.items() if k not in ("FORCE_COLOR", "HF_HUB_OFFLINE")}
    return subprocess.run(
        command(*arguments),
        cwd=place,
        env={**plain, "COLUMNS": "120", **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def assert_refused(done, *words):
    """Exit code 2, nothing on stdout, one line on stderr."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    for word in words:
        assert word in lines[0]


def test_the_version_is_printed(place):
    assert launch(place, "--version").stdout.strip() == vitdecomp.__version__


def test_help_lists_the_verbs(run):
    done = run("--help")
    assert done.returncode == 0
    assert all(verb in done.stdout for verb in ("models", "inspect", "extract", "demo"))


def test_models_are_listed(run):
    shown = run("models", "timm:deit_tiny").stdout.splitlines()
    assert any(re.fullmatch(r"timm:deit_tiny_patch16_224 +exact, all \d+ blocks", line) for line in shown)
    listed = json.loads(run("models", "torchvision:vit_b*", "--json").stdout)
    assert [one["model"] for one in listed] == ["torchvision:vit_b_16", "torchvision:vit_b_32"]
    assert {one["family"] for one in listed} == {"vision_transformer"}
    assert all(one["status"].startswith("exact") for one in listed)
    assert_refused(run("models", "timm:no_such_thing"), "no model matches")


class TestInspect:
    def test_the_report_is_set_out(self, run):
        done = run("inspect", "python:own:tiny")
        assert done.returncode == 0
        assert done.stderr == ""
        for words in ("python:own:tiny", "embedding, 48 dimensions, float32", "exact", "complete: 4 of 4", "linear"):
            assert words in done.stdout

    def test_json_is_pure_and_the_graph_is_written(self, place, tmp_path):
        graph = tmp_path / "paths.graphml"
        done = launched(place, "inspect", "python:own:tiny", "--json", "--dtype", "float64", "--graph", graph)
        report = json.loads(done.stdout)
        assert done.stderr == ""
        assert report["heads"] == {"blocks.0.attn": 4, "blocks.1.attn": 4}
        assert report["exactness"]["error"] < 1e-12
        assert report["coverage"]["complete"]
        assert nx.is_directed_acyclic_graph(nx.read_graphml(graph))

    def test_images_output_and_dot_can_be_chosen(self, run, tmp_path):
        graph = tmp_path / "paths.dot"
        flags = ("--output", "logits", "--images", "photos", "--limit", 2, "--graph", graph, "--json")
        report = json.loads(run("inspect", "python:own:tiny", *flags).stdout)
        assert report["output"] == "logits"
        assert report["dimension"] == 5
        assert report["images"] == "0.png, 1.png"
        assert graph.read_text().startswith("digraph {")

    def test_random_weights_are_those_of_the_seed(self, run):
        def error(seed):
            flags = ("--random-weights", "--seed", seed, "--json")
            return json.loads(run("inspect", "python:own:tiny", *flags).stdout)["exactness"]["error"]

        assert error(1) == error(1) != error(2)

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ("timm:deit_tiny_patch16_244", ("no model", "did you mean deit_tiny_patch16_224")),
            ("open_clip:ViT-B-16/laion2b", ("no weights", "did you mean")),
            ("tim:deit", ("did you mean timm",)),
            ("python:own:tinny", ("did you mean tiny",)),
            ("python:own:Text", ("does not take images",)),
            ("python:own:Tokens --image-size 32", ("one vector per image",)),
            ("python:own:Vector", ("doesn't match model (32)", "--image-size")),
            ("python:own:tiny --image-size 1x32x32", ("does not take images",)),
            ("python:own:tiny --image-size 48", ("does not take images",)),
            ("python:own:tiny --image-size wide", ("image size 'wide'",)),
            ("python:own:nan", ("NaN",)),
            ("python:own:tiny --output logit", ("did you mean logits",)),
            ("python:own:tiny --dtype float6", ("did you mean float64",)),
            ("python:own:tiny --device tpu", ("no device 'tpu'",)),
            ("python:own:tiny --checkpoint none.pt", ("is not a file",)),
            ("timm:deit_tiny_patch16_224 --checkpoint none.pt", ("none.pt is not a file",)),
            ("python:own:tiny --images nowhere", ("no file or folder",)),
            ("python:own:tiny --images own.py", ("cannot read image own.py",)),
            ("python:own:tiny --graph paths.png", (".graphml or .dot",)),
            ("python:own:tiny --graph nowhere/paths.dot", ("no directory nowhere",)),
            ("python:own:tiny --bogus", ("--bogus",)),
            ("", ("Missing argument",)),
        ],
    )
    def test_bad_input_is_one_line(self, place, run, arguments, words):
        before = files(place)
        assert_refused(run("inspect", *arguments.split()), *words)
        assert files(place) == before

    def test_without_the_hub_one_line_names_the_remedies(self, place, tmp_path):
        done = launch(place, "inspect", "timm:deit_tiny_patch16_224", HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path))
        assert_refused(done, "--random-weights", "--checkpoint", "HF_HUB_OFFLINE=1")


def arguments(out, *more):
    return (
        "extract",
        "python:own:tiny",
        "--images",
        "photos",
        "--out",
        out,
        "--batch-size",
        2,
        "--chunk-size",
        1,
        *more,
    )


MANY = 80


def many_photos(source, target):
    """The same few photographs under many names."""
    target.mkdir()
    few = sorted(path for path in source.iterdir() if path.is_file())
    for i in range(MANY):
        shutil.copy(few[i % len(few)], target / f"{i:03d}{few[i % len(few)].suffix}")
    return target


@pytest.fixture
def whole(run, tmp_path):
    """The result of a run that nobody disturbed, and its summary."""
    done = run(*arguments(tmp_path / "whole", "--json"))
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "extracting 8 of 8"
    return tmp_path / "whole", json.loads(done.stdout)


LISTENING = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv[0] = "vitdecomp"
from vitdecomp.cli.main import main
main()
"""  # a shell that starts tests in the background has them ignore the interruption, and what they start too


class TestExtract:
    @pytest.mark.slow
    @pytest.mark.parametrize("interruption", [signal.SIGKILL, signal.SIGINT])
    def test_after_an_interruption_the_result_is_the_same(self, place, run, tmp_path, interruption):
        photos = many_photos(place / "photos", tmp_path / "photos")  # so many that the signal comes in time
        out = tmp_path / "parts.lance"
        process = Fork(source, LISTENING, *arguments(out, "--images", photos), cwd=place)
        wait_for(out / "images.lance" / "_versions", 4)
        process.send_signal(interruption)
        _, stderr = process.communicate(timeout=240)
        if interruption == signal.SIGINT:
            assert process.returncode == 130
            assert stderr.splitlines()[-1] == "interrupted; run the same command again to resume"
        with pytest.raises(vitdecomp.InputError, match="is not finished"):
            vitdecomp.Store(out)
        for folder in (out, tmp_path / "undisturbed.lance"):
            done = run(*arguments(folder, "--images", photos, "--quiet"))
            assert done.returncode == 0
            assert done.stderr == ""
        one, other = vitdecomp.Store(tmp_path / "undisturbed.lance"), vitdecomp.Store(out)
        assert one.ids == other.ids
        assert len(one) == MANY
        assert one.fingerprint() == other.fingerprint()
        assert torch.equal(one.take(range(MANY)).values, other.take(range(MANY)).values)

    def test_the_summary_says_what_was_written_and_nothing_is_overwritten(self, run, whole):
        out, summary = whole
        assert summary["images"] == summary["added"] == 8
        assert summary["error"] < 1e-5
        before = files(out)
        assert_refused(run(*arguments(out, "--output", "logits")), "another extraction", "output")
        assert_refused(run(*arguments(out, "--no-resume")), "--no-resume")
        assert files(out) == before

    def test_threads_may_read_the_images(self, run, whole, tmp_path):
        done = run(*arguments(tmp_path / "by_threads", "--num-workers", 2, "--quiet"))
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        assert vitdecomp.Store(tmp_path / "by_threads").fingerprint() == vitdecomp.Store(whole[0]).fingerprint()

    def test_a_table_of_paths_is_read(self, place, run, tmp_path):
        (place / "photos.csv").write_text("image,label,time\nphotos/1.png,cat,dawn\nphotos/inner/6.png,dog,\n")
        done = run("extract", "python:own:tiny", "--images", "photos.csv", "--out", tmp_path / "s.lance", "--quiet")
        assert done.returncode == 0, done.stderr
        (place / "photos.csv").unlink()
        store = vitdecomp.Store(tmp_path / "s.lance")
        assert store.ids == ("photos/1.png", "photos/inner/6.png")
        assert store.labels == ("cat", "dog")
        assert store.groups == ({"time": "dawn"}, {"time": ""})

    @pytest.mark.parametrize(
        ("flags", "words"),
        [
            ("--images nowhere --out new", ("no file or folder nowhere",)),
            ("--images photos --out own.py", ("own.py is not a directory",)),
            ("--images photos --out photos", ("not empty",)),
            ("--images photos --out new --by heads", ("did you mean head",)),
            ("--images photos --out new --precision float8", ("no precision 'float8'", "did you mean")),
            ("--images own.py --out new", ("cannot read image", "own.py")),
            ("--images photos --out new --batch-size 0", ("--batch-size",)),
            ("--images photos", ("--out",)),
        ],
    )
    def test_bad_input_is_one_line_and_writes_nothing(self, place, run, flags, words):
        assert_refused(run("extract", "python:own:tiny", *flags.split()), *words)
        assert not (place / "new").exists()

    def test_a_broken_image_is_left_out_and_listed_or_refused(self, place, run, tmp_path):
        pictures = shutil.copytree(place / "photos", tmp_path / "photos")
        (pictures / "torn.png").write_bytes(b"torn")
        words = ("extract", "python:own:tiny", "--images", str(pictures), "--out")
        told = json.loads(run(*words, str(tmp_path / "s.lance"), "--json").stdout)
        assert told["skipped"] == ["torn.png"]
        assert told["images"] == told["added"] > 0
        assert_refused(run(*words, str(tmp_path / "new"), "--strict"), "torn.png", "--skip-unreadable")
        assert not (tmp_path / "new").exists()

    def test_a_model_that_fails_writes_nothing(self, place, run):
        assert_refused(run("extract", "python:own:nan", "--images", "photos", "--out", "new"), "NaN")
        assert not (place / "new").exists()


def files(place: Path):
    """When each file was written; a lock is touched by older versions of its library."""
    kept = (p for p in place.rglob("*") if p.is_file() and p.suffix != ".pyc" and p.name != ".lock")
    return {p: p.stat().st_mtime_ns for p in kept}


def wait_for(folder: Path, n: int, seconds=240):
    """Wait until a folder has so many files."""
    end = time.monotonic() + seconds
    while len(list(folder.glob("*"))) < n:
        assert time.monotonic() < end, f"{folder} did not come"
        time.sleep(0.002)
