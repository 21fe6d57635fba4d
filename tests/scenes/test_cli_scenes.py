"""The verb `scenes`, as its users run it."""

import csv
import json
from functools import partial

import pytest
from commands import launched

from vitdecomp.scenes import SceneDataset


@pytest.fixture
def run(in_process, tmp_path):
    """The command in this process."""
    return partial(in_process, tmp_path, "scenes")


def assert_refused(done, *words):
    """Exit code 2, nothing on stdout, one line on stderr."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert all(word in done.stderr for word in words), done.stderr


def test_the_command_writes_pictures_and_says_so(tmp_path):
    out = tmp_path / "pictures"
    arguments = ["--out", out, "--n", 8, "--seed", 1, "--split", "val", "--subset", "waterbirds", "--json"]
    done = launched(tmp_path, "scenes", *arguments)
    assert done.returncode == 0, done.stderr
    assert "drawing 8 of 8" in done.stderr
    summary = json.loads(done.stdout)
    assert sum(summary["classes"].values()) == summary["pictures"] == len(list(out.rglob("*.png"))) == 8
    with (out / "labels.csv").open(newline="", encoding="utf-8") as file:
        captions = [row["caption"] for row in csv.DictReader(file)]
    assert captions == SceneDataset(8, seed=1, split="val", subset="waterbirds").captions


def test_words_are_written_on_request(run, tmp_path):
    done = run("--out", tmp_path / "words", "--n", 3, "--word-probability", 1, "--quiet")
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.startswith("3 images in 10 classes: ")
    with (tmp_path / "words" / "labels.csv").open(newline="", encoding="utf-8") as file:
        assert all(row["word"] for row in csv.DictReader(file))


def test_masks_are_written_on_request(run, tmp_path):
    done = run("--out", tmp_path / "masked", "--n", 4, "--masks", "--quiet")
    assert done.returncode == 0
    assert done.stdout.startswith("4 images with masks in 10 classes: ")
    names = {
        room: {f.relative_to(tmp_path / "masked" / room) for f in (tmp_path / "masked" / room).rglob("*.png")}
        for room in ("images", "masks")
    }
    assert len(names["images"]) == 4
    assert names["images"] == names["masks"]
    with (tmp_path / "masked" / "labels.csv").open(newline="", encoding="utf-8") as file:
        assert all((tmp_path / "masked" / row["path"]).is_file() for row in csv.DictReader(file))


def test_a_folder_that_holds_something_stays_as_it_is(run, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    assert_refused(run("--out", tmp_path, "--n", 2), "is not empty")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--split", "tset"), "did you mean test"),
        (("--subset", "waterbird"), "did you mean waterbirds"),
        (("--word-probability", "2"), "between 0 and 1"),
        (("--n", "0"), "--n"),
        (("--seed", "-1"), "--seed"),
    ],
)
def test_what_means_nothing_is_refused_before_anything_is_written(run, tmp_path, arguments, word):
    assert_refused(run("--out", tmp_path / "out", *arguments), word)
    assert list(tmp_path.iterdir()) == []
