"""Data sets with groups, read from files in the very formats in which they come."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vitdecomp as vd
from vitdecomp.datasets import open_pictures
from vitdecomp.datasets.grouped import read
from vitdecomp.datasets.grouped.formats import Columns
from vitdecomp.scenes import SceneDataset


def picture(path: Path, shade: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (shade, 0, 0)).save(path)
    return path


@pytest.fixture
def waterbirds(tmp_path: Path) -> Path:
    """metadata.csv as WILDS has it, with four training, one validation and four test images."""
    root = tmp_path / "waterbirds_v1.0"
    lines = ["img_id,img_filename,y,split,place,place_filename"]
    for i, (y, split, place) in enumerate(
        [(0, 0, 0), (0, 0, 1), (1, 0, 0), (1, 0, 1), (0, 1, 0), (0, 2, 0), (0, 2, 1), (1, 2, 0), (1, 2, 1)]
    ):
        name = f"{i % 3:03d}.Bird/Bird_{i:04d}.jpg"
        picture(root / name)
        lines.append(f"{i + 1},{name},{y},{split},{place},/o/ocean/{i:08d}.jpg")
    (root / "metadata.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture
def celeba(tmp_path: Path) -> Path:
    """list_attr_celeba.txt with its count and its header, padded as the original is."""
    root = tmp_path / "celeba"
    rows = [(1, 1, 0), (1, -1, 0), (-1, 1, 0), (-1, -1, 1), (-1, -1, 2)]
    lines = [str(len(rows)), "Bald Blond_Hair Male "]
    for i, (hair, male, _) in enumerate(rows, 1):
        picture(root / "img_align_celeba" / f"{i:06d}.jpg")
        lines.append(f"{i:06d}.jpg -1 {hair:2d} {male:2d}")
    (root / "list_attr_celeba.txt").write_text("\n".join(lines) + "\n")
    splits = [f"{i:06d}.jpg {split}" for i, (_, _, split) in enumerate(rows, 1)]
    (root / "list_eval_partition.txt").write_text("\n".join(splits) + "\n")
    return root


@pytest.fixture
def table(tmp_path: Path) -> Path:
    lines = ["image,label,group,split"]
    for i in range(6):
        picture(tmp_path / "photos" / f"{i}.png")
        lines.append(
            f"photos/{i}.png,{'cat' if i % 2 else 'dog'},{'in' if i < 3 else 'out'},{'train' if i < 4 else 'test'}"
        )
    (tmp_path / "data.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "data.csv"


def test_waterbirds(waterbirds: Path):
    data = read(waterbirds)
    assert data.classes == ("landbird", "waterbird")
    assert data.group_names == ("landbird, land", "landbird, water", "waterbird, land", "waterbird, water")
    assert data.labels.tolist() == [0, 0, 1, 1, 0, 0, 0, 1, 1]
    assert data.part("train").groups.tolist() == [0, 1, 2, 3]
    assert data.part("val").names == ("001.Bird/Bird_0004.jpg",)
    data.part("test").require_groups()
    with pytest.raises(vd.InputError, match="group 'landbird, water' has no image among 1"):
        data.part("val").require_groups()


def test_celeba(celeba: Path):
    data = read(celeba)
    assert data.classes == ("not Blond_Hair", "Blond_Hair")
    assert data.labels.tolist() == [1, 1, 0, 0, 0]
    assert [data.group_names[g] for g in data.groups[:2]] == ["Blond_Hair, Male", "Blond_Hair, not Male"]
    assert data.split == ("train", "train", "train", "val", "test")
    assert all(data.read(i) for i in range(len(data)))
    assert read(celeba, Columns(target="Male", beside="Bald")).labels.tolist() == [1, 0, 1, 0, 0]
    with pytest.raises(vd.SpecError, match="no attribute 'Blonde_Hair'; did you mean Blond_Hair"):
        read(celeba, Columns(target="Blonde_Hair"))
    (celeba / "list_eval_partition.txt").write_text("000001.jpg 0\n")
    with pytest.raises(vd.InputError, match=r"does not say in which split 000002\.jpg is"):
        read(celeba)
    (celeba / "list_eval_partition.txt").unlink()
    assert sorted(read(celeba).split) == ["test", *4 * ["train"]]  # one group alone has two images to share out


def test_a_csv(table: Path):
    data = read(table)
    assert data.classes == ("cat", "dog")
    assert data.group_names == ("in", "out")
    assert data.part("test").names == ("photos/4.png", "photos/5.png")
    with pytest.raises(vd.SpecError, match="no column 'lable'; did you mean label"):
        read(table, Columns(label="lable"))


def test_a_csv_with_the_least(tmp_path: Path):
    for i in range(8):
        picture(tmp_path / f"{i}.png")
    (tmp_path / "data.csv").write_text("image,label\n" + "".join(f"{i}.png,{i % 2}\n" for i in range(8)))
    data = read(tmp_path / "data.csv")
    assert np.array_equal(data.groups, data.labels)
    assert [data.split.count(name) for name in ("train", "test")] == [4, 4]
    assert data.split == read(tmp_path / "data.csv").split


def test_scenes(tmp_path: Path):
    for split in ("train", "test"):
        SceneDataset(12, 0, split, "waterbirds").write(tmp_path / split)
    data = read(tmp_path)
    truth = SceneDataset(12, 0, "test", "waterbirds")
    test = data.part("test")
    known = {f"{i:06d}.png": (truth.labels["target"][i], truth.labels["group"][i]) for i in range(12)}
    assert [picture.groups["group"] for picture in test.pictures] == [data.group_names[g] for g in test.groups]
    told = [(label, int(picture.groups["group"])) for label, picture in zip(test.labels, test.pictures, strict=True)]
    assert told == [known[Path(picture.id).name] for picture in test.pictures]
    assert data.classes == ("pointed", "rounded")
    alone = read(tmp_path / "test")  # one split alone is halved
    assert {*alone.split} == {"train", "test"}


def test_class_folders(tmp_path: Path):
    for label in ("cat", "dog"):
        for i in range(4):
            picture(tmp_path / "flat" / label / f"{i}.png")
            picture(tmp_path / "deep" / ("train" if i else "test") / label / f"{i}.png")
    assert read(tmp_path / "flat").split.count("train") == 4
    deep = read(tmp_path / "deep")
    assert deep.part("test").names == ("test/cat/0.png", "test/dog/0.png")
    assert deep.classes == ("cat", "dog")


def test_limits_are_drawn_alike(table: Path):
    data = read(table)
    assert len(data.part("train", limit=2)) == 2
    assert data.part("train", limit=2).names == data.part("train", limit=2).names


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda t: t.with_name("nothing"), vd.InputError, "there is no file or folder"),
        (lambda t: (t.parent / "photos" / "2.png").unlink() or t, vd.InputError, r"there is no image .*2\.png"),
        (lambda t: t.write_text("image,label\n") and t, vd.InputError, "lists no images"),
        (lambda t: t.write_text("image,label\na.png\n") and t, vd.InputError, "line 2: fewer cells than columns"),
        (lambda t: t.write_text("image,label\nphotos/0.png,cat\n") and t, vd.InputError, "one class alone"),
        (lambda t: t.write_text("image,label,split\nphotos/0.png,cat,tset\n") and t, vd.InputError, "one class alone"),
        (lambda t: t.write_bytes(b"\xff\xfe\x00") and t, vd.InputError, "cannot read"),
        (lambda t: picture(t.parent / "lone" / "x.png").parent, vd.InputError, "no data set with classes"),
    ],
)
def test_what_cannot_be_read(table: Path, change, error, message):
    with pytest.raises(error, match=message) as caught:
        read(change(table))
    assert "\n" not in str(caught.value)


def test_unknown_formats_and_splits(table: Path, waterbirds: Path):
    with pytest.raises(vd.SpecError, match="did you mean waterbirds"):
        read(table, kind="waterbird")
    table.write_text("image,label,split\nphotos/0.png,cat,train\nphotos/1.png,dog,tset\n")
    with pytest.raises(vd.SpecError, match="did you mean test"):
        read(table)
    text = (waterbirds / "metadata.csv").read_text()
    (waterbirds / "metadata.csv").write_text(text.replace(",0,0,1,", ",2,0,1,", 1))
    with pytest.raises(vd.InputError, match="y is '2', which should be 0 or 1"):
        read(waterbirds)


@pytest.mark.parametrize("kind", ["txt", "csv"])
@pytest.mark.parametrize("images", ["img_align_celeba", "img_align_celeba/img_align_celeba"])
def test_celeba_of_kaggle_is_that_of_its_authors(celeba: Path, tmp_path: Path, kind: str, images: str):
    wanted = read(celeba)
    root = tmp_path / "kaggle"
    for path in (celeba / "img_align_celeba").iterdir():
        (root / images).mkdir(parents=True, exist_ok=True)
        path.rename(root / images / path.name)
    own = [line.split() for line in (celeba / "list_attr_celeba.txt").read_text().splitlines()[1:]]
    rows = [",".join(["image_id", *own[0]]), *(",".join(line) for line in own[1:])]
    parts = ["image_id,partition", *(celeba / "list_eval_partition.txt").read_text().replace(" ", ",").split()]
    for name in ("list_attr_celeba", "list_eval_partition"):
        lines = rows if name == "list_attr_celeba" else parts
        text = (celeba / f"{name}.txt").read_text() if kind == "txt" else "\r\n".join(lines) + "\r\n"
        (root / f"{name}.{kind}").write_bytes(text.encode())
    for place in (root, root / f"list_attr_celeba.{kind}"):
        data = read(place)
        assert (data.names, data.split, data.classes, data.group_names) == (
            wanted.names,
            wanted.split,
            wanted.classes,
            wanted.group_names,
        )
        assert np.array_equal(data.groups, wanted.groups)
        assert all(data.read(i) for i in range(len(data)))
    found = open_pictures(root / f"list_attr_celeba.{kind}")
    assert [one.groups["Blond_Hair"] for one in found.pictures] == ["1", "1", "-1", "-1", "-1"]
    assert found.read(0)


def test_a_damaged_list_of_celeba(celeba: Path, caplog):
    path = celeba / "list_attr_celeba.txt"
    whole = path.read_text()
    path.write_text(whole.replace("000002.jpg -1  1 -1", "000002.jpg -1  1 NA"))
    with pytest.raises(vd.InputError, match=r"line 4: Male is 'NA', which should be 1 or -1"):
        read(celeba)
    path.write_text(whole.replace("000002.jpg -1  1 -1", "000002.jpg -1  1"))
    with pytest.raises(vd.InputError, match="line 4: fewer cells than columns"):
        read(celeba)
    path.write_text(whole.replace("5\n", "7\n", 1))
    read(celeba)
    assert "says that it has 7 rows, and has 5" in caplog.text


@pytest.mark.parametrize(
    "text",
    [
        "Image, Label\nphotos/0.png, cat\nphotos/1.png, dog\n",
        "\ufeffIMAGE\tLABEL\r\nphotos/0.png\tcat\r\nphotos/1.png\tdog\r\n",
        "path;class\n\n'photos/0.png;cat\n'photos/1.png;dog\n".replace("'", ""),
        '"image_id","label",""\n"photos/0.png", "cat",\n"photos/1.png", "dog",\n,,\n',
        "filename,target\rphotos/0.png,cat\rphotos/1.png,dog\r",
    ],
)
@pytest.mark.parametrize("name", ["data.csv", "data.TSV", "data.txt"])
def test_every_command_reads_tables_alike(table: Path, text: str, name: str):
    place = table.with_name(name)
    place.write_bytes(text.encode())
    data = read(place)
    assert (data.names, data.classes) == (("photos/0.png", "photos/1.png"), ("cat", "dog"))
    found = open_pictures(place).pictures
    assert [(one.id, one.label) for one in found] == [("photos/0.png", "cat"), ("photos/1.png", "dog")]
    assert found[0].groups == {}


def test_a_column_that_is_named_must_be_there(table: Path):
    with pytest.raises(vd.SpecError, match="no column 'place'"):
        read(table, Columns(group="place"))
    table.write_text("path,label,group\nphotos/0.png,cat,in\nphotos/1.png,dog,\n")
    with pytest.raises(vd.SpecError, match="no column 'picture'"):
        read(table, Columns(image="picture"))
    with pytest.raises(vd.InputError, match=r"data\.csv, line 3: no group"):
        read(table)


def test_a_validation_split_that_is_not_used_is_said(waterbirds: Path, table: Path, caplog):
    train, test = read(waterbirds).halves()
    assert (len(train), len(test)) == (4, 4)
    assert f"1 images of {waterbirds} are in the validation split, which is not used" in caplog.text
    caplog.clear()
    read(table).halves()
    assert not caplog.text


def test_class_folders_are_those_with_images_that_count(tmp_path: Path, caplog):
    for name in ("cat/0.png", "dog/1.png", ".ipynb_checkpoints/2.png", "cat/@eaDir/0.png", "preview.png"):
        picture(tmp_path / "data" / name)
    picture(tmp_path / "birds" / "3.png")
    (tmp_path / "data" / "bird").symlink_to(tmp_path / "birds")
    data = read(tmp_path / "data")
    assert data.classes == ("bird", "cat", "dog")
    assert len(data) == 3
    assert "(preview.png)" in caplog.text
    assert "@eaDir" in caplog.text


def test_folders_named_by_digits_are_classes(tmp_path: Path):
    for label in "012":
        picture(tmp_path / label / "inner" / f"{label}.png")
    assert read(tmp_path).classes == ("0", "1", "2")


def test_pictures_are_made_once(table: Path):
    """They are asked for image by image: made anew each time, n images took n^2 steps."""
    data = read(table)
    assert data.pictures is data.pictures
    assert [one.id for one in data.pictures] == list(data.names)
