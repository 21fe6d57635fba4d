"""Pairs of plain and attacked photographs, in the layouts in which they come."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

import vitdecomp as vd
from vitdecomp.datasets import PairsDataset


def picture(path: Path, shade: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (shade, 0, 0)).save(path)
    return path


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Two classes of two pairs each, whose files end differently."""
    for label in ("cup", "dial phone"):
        for i in range(2):
            picture(tmp_path / "plain" / label / f"{i}.png", 10 * i)
            picture(tmp_path / "attacked" / label / f"{i}.bmp", 100 + 10 * i)
    return tmp_path


def test_the_same_names_in_two_folders(folders: Path) -> None:
    data = PairsDataset(folders)
    assert len(data) == 4
    assert data.classes == ("cup", "dial phone")
    assert [pair.label for pair in data.pairs] == ["cup", "cup", "dial phone", "dial phone"]
    assert [pair.id for pair in data.pairs][:2] == ["cup/0", "cup/1"]
    assert {pair.word for pair in data.pairs} == {None}
    plain, attacked = data[3]
    assert (plain.getpixel((0, 0)), attacked.getpixel((0, 0))) == ((10, 0, 0), (110, 0, 0))


def test_names_that_tell_class_and_word(tmp_path: Path) -> None:
    picture(tmp_path / "attacked" / "label=cup_text=i_pod.png", 100)
    picture(tmp_path / "attacked" / "label=cup_text=phone.png", 110)
    picture(tmp_path / "attacked" / "pen" / "label=pen_text=cup.png", 120)
    picture(tmp_path / "plain" / "cup.png", 1)
    picture(tmp_path / "plain" / "pen" / "label=pen_text=cup.bmp", 2)
    data = PairsDataset(tmp_path)
    assert data.classes == ("cup", "i_pod", "pen", "phone")
    assert [(pair.label, pair.word) for pair in data.pairs] == [("cup", "i_pod"), ("cup", "phone"), ("pen", "cup")]
    assert data.pairs[0].plain == data.pairs[1].plain == tmp_path / "plain" / "cup.png"
    assert data.pairs[2].plain.name == "label=pen_text=cup.bmp"


def annotated(place: Path, content: object) -> Path:
    (place / "annotations.json").write_text(json.dumps(content))
    return place


def test_annotations_beside_images(tmp_path: Path) -> None:
    said = {"a.png": ("cup", "taxi"), "b.png": ("cup", ""), "c.png": ("cup", "good"), "d.png": ("pen", "")}
    for name in said:
        picture(tmp_path / "images" / name)
    content = {n: {"true object": label, "typographic attack label": word} for n, (label, word) in said.items()}
    data = PairsDataset(annotated(tmp_path, content))
    assert [(pair.id, pair.label, pair.word) for pair in data.pairs] == [("a", "cup", "taxi"), ("c", "cup", "good")]
    assert {pair.plain.name for pair in data.pairs} == {"b.png"}
    content["d.png"]["typographic attack label"] = "cup"
    with pytest.raises(vd.InputError, match=r"no image of 'pen' without a word, so d\.png has no plain twin"):
        PairsDataset(annotated(tmp_path, content))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ([], "should be"),
        ({"a.png": {"object": "cup"}}, r"a\.png has no 'true object'"),
        ({"a.png": {"true object": "cup", "typographic attack label": ""}}, "none is attacked"),
        ({"z.png": {"true object": "cup", "typographic attack label": ""}}, r"there is no image .*z\.png"),
    ],
)
def test_annotations_that_are_wrong(tmp_path: Path, content: object, told: str) -> None:
    picture(tmp_path / "images" / "a.png")
    with pytest.raises(vd.InputError, match=told):
        PairsDataset(annotated(tmp_path, content))


def test_a_missing_twin(folders: Path) -> None:
    (folders / "plain" / "cup" / "1.png").unlink()
    with pytest.raises(vd.InputError, match=r"attacked/cup/1\.bmp has no plain twin: put it at .*plain/cup/1\.bmp"):
        PairsDataset(folders)
    (folders / "attacked" / "cup" / "1.bmp").unlink()
    assert len(PairsDataset(folders)) == 3
    (folders / "attacked" / "cup" / "0.bmp").unlink()
    with pytest.raises(vd.InputError, match=r"plain/cup/0\.png has no attacked twin: put it at .*attacked/cup/0\.png"):
        PairsDataset(folders)


def test_no_folder_no_images_no_class(tmp_path: Path, folders: Path) -> None:
    with pytest.raises(vd.InputError, match=r"there is no folder .*nowhere of pairs: it should have plain/CLASS"):
        PairsDataset(tmp_path / "nowhere")
    picture(folders / "attacked" / "alone.png")
    with pytest.raises(vd.InputError, match=r"alone\.png has no class: put it in a folder attacked/CLASS"):
        PairsDataset(folders)
    empty = tmp_path / "empty"
    (empty / "plain").mkdir(parents=True)
    with pytest.raises(vd.InputError, match=r"there is no folder .*attacked: pairs need"):
        PairsDataset(empty)
    (empty / "attacked").mkdir()
    with pytest.raises(vd.InputError, match=r"no images in .*plain"):
        PairsDataset(empty)


def test_one_class_and_two_files_of_one_name(tmp_path: Path) -> None:
    for side in ("plain", "attacked"):
        picture(tmp_path / side / "cup" / "0.png")
    with pytest.raises(vd.InputError, match="one class alone"):
        PairsDataset(tmp_path)
    picture(tmp_path / "plain" / "cup" / "0.bmp")
    with pytest.raises(vd.InputError, match=r"0\.png and 0\.bmp have the same name"):
        PairsDataset(tmp_path)
