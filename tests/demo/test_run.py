"""Which steps run with which pictures, and what is left behind."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitdecomp.demo import Options, run, run_demo
from vitdecomp.demo.run import RANDOM
from vitdecomp.demo.world import FEWEST, folder_world
from vitdecomp.errors import InputError, OutputError, SpecError
from vitdecomp.scenes import SceneDataset

pytestmark = pytest.mark.xdist_group("demo")  # which is made once


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures in two folders, of which one shows circles."""
    place = tmp_path_factory.mktemp("classes")
    data = SceneDataset(2 * FEWEST)
    for i in range(len(data)):
        target = place / ("round" if i % 2 else "other")
        target.mkdir(exist_ok=True)
        data[i][0].save(target / f"{i}.png")
    return place


@pytest.fixture(scope="module")
def classes(folder):
    return run_demo(Options("scenes:deit", folder, random_weights=True))


def test_folders_are_classes(folder, classes):
    assert set(classes.sections) == {"world", "decompose", "knowledge", "retrieval", "causal", "curves"}
    assert list(classes.left_out) == ["words", "scores", "search", "cue", "heatmaps"]
    assert classes.context.featured.knowledge.factors == ("class",)
    assert "<h1>" in classes.to_html()
    assert classes.to_json()["models"] == ["scenes:deit"]
    assert "--model scenes:deit --images" in classes.context.options.command


def test_with_fewer_pictures_of_a_class_nothing_is_known(folder):
    world = folder_world(folder, 2 * FEWEST - 2)
    assert not world.labels
    assert str(FEWEST) in world.unknown


def test_without_labels_the_report_says_what_is_left_out(tmp_path):
    SceneDataset(1)[0][0].save(tmp_path / "one.png")
    demo = run_demo(Options("scenes:deit", tmp_path, random_weights=True))
    assert set(demo.sections) == {"world", "decompose"}
    notes = [note for note in demo.notes if note.startswith("Left out")]
    assert ["(words, scores, search, cue)" in note for note in notes] == [False, True]
    assert "knowledge, retrieval, causal, curves, heatmaps" in notes[0]
    assert "--clip" in notes[1]
    page = demo.to_html()
    assert notes[0] in page
    assert RANDOM in page


def test_with_labels_nothing_is_said_to_be_left_out(demo, page):
    assert demo.notes == [RANDOM]
    assert "Left out" not in page


def test_large_pictures_become_thumbnails(tmp_path):
    Image.linear_gradient("L").resize((2000, 1000)).save(tmp_path / "large.png")
    assert len(run_demo(Options("scenes:deit", tmp_path, random_weights=True)).to_html()) < 60_000


def test_a_place_that_cannot_be_written_is_found_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "_world", None)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        run_demo(Options(), tmp_path / "file" / "demo")


def test_a_failure_leaves_nothing_behind(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no images"):
        run_demo(Options("scenes:deit", tmp_path / "empty", random_weights=True), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_every_step_says_that_it_runs(tmp_path):
    SceneDataset(1)[0][0].save(tmp_path / "one.png")
    told = []

    class Stage:
        def __init__(self, text):
            told.append(text)

        def __enter__(self):
            return None

        def __exit__(self, *_):
            return None

    run_demo(Options("scenes:deit", tmp_path, random_weights=True), tmp_path / "out", Stage)
    assert told == ["pictures", "scenes:deit", "contact sheet", "shares of the blocks", "report"]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"report.html", "summary.json", "paths.graphml"}


def test_poor_examples_come_last(demo):
    world = demo.context.world
    shown = world.examples(np.arange(len(world)), 40)
    assert len(set(shown)) == 40
    assert not world.crowded[shown].any()
    assert sorted(world.examples(np.arange(len(world)), len(world))) == list(range(len(world)))


@pytest.mark.parametrize("options", [{"checkpoint": Path("weights.safetensors")}, {"image_size": "64"}])
def test_weights_and_a_size_need_a_model(options):
    with pytest.raises(SpecError, match="name it with --model"):
        run_demo(Options(**options))


def test_the_command_repeats_weights_and_size(tmp_path):
    command = Options("timm:test_vit", tmp_path, checkpoint=Path("w.safetensors"), image_size="64").command
    assert "--checkpoint w.safetensors --image-size 64" in command
