"""A data set on disk holds the same pictures and labels, whole or not at all."""

import csv

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from vitdecomp.errors import OutputError
from vitdecomp.scenes import FACTORS, SceneDataset
from vitdecomp.scenes.folder import cached_scenes


def rows(folder):
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("subset", ["plain", "waterbirds", "typographic"])
def test_what_is_written_can_be_read(tmp_path, subset):
    data = SceneDataset(12, subset=subset, split="test")
    told = []
    data.write(tmp_path / "pictures", progress=lambda done, total: told.append((done, total)))
    assert told == [(done, 12) for done in range(1, 13)]
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]
    table = rows(tmp_path / "pictures")
    assert len(table) == 12
    for index, row in enumerate(table):
        sample = data.sample(index)
        with Image.open(tmp_path / "pictures" / row["path"]) as picture:
            assert np.array_equal(np.asarray(picture), sample.image)
        assert {name: row[name] for name in FACTORS} == sample.scene.values
        assert row["target"] == data.classes[sample.labels["target"]]
        assert row["caption"] == sample.caption
        assert row["word"] == (sample.scene.word or "")
        assert row["group"] == ("" if sample.scene.group is None else str(sample.scene.group))
        assert row["split"] == "test"


def test_torchvision_reads_the_folder(tmp_path):
    data = SceneDataset(30)
    data.write(tmp_path)  # an empty folder will do
    folder = ImageFolder(str(tmp_path))
    assert len(folder) == 30
    table = {row["path"]: row["target"] for row in rows(tmp_path)}
    for path, number in folder.samples:
        assert table["/".join(path.split("/")[-2:])] == folder.classes[number]


def test_a_folder_that_holds_something_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="is not empty"):
        SceneDataset(2).write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="is not a directory"):
        SceneDataset(2).write(tmp_path / "file")


def test_an_interruption_leaves_nothing(tmp_path):
    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        SceneDataset(5).write(tmp_path / "out", progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_another_run_that_is_writing_is_not_disturbed(tmp_path):
    (tmp_path / "out.partial").mkdir()
    with pytest.raises(OutputError, match=r"out\.partial exists already"):
        SceneDataset(2).write(tmp_path / "out")
    assert (tmp_path / "out.partial").is_dir()


def test_scenes_in_a_cache_are_drawn_once(tmp_path, monkeypatch):
    folder = cached_scenes(tmp_path / "cache", 6, "train", "test", subset="waterbirds")
    for split in ("train", "test"):
        wanted = SceneDataset(6, 0, split, "waterbirds")
        assert [row["group"] for row in rows(folder / split)] == [str(wanted.scene(i).group) for i in range(6)]
    monkeypatch.setattr(SceneDataset, "write", lambda *_: pytest.fail("drawn again"))
    assert cached_scenes(tmp_path / "cache", 6, "train", "test", subset="waterbirds") == folder
    with pytest.raises(pytest.fail.Exception):
        cached_scenes(tmp_path / "cache", 6, "test")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [folder.name]
