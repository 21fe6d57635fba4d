"""Every kind of data set gives the same pictures, with what it knows of them."""

import io
import json
import os
import sys
import tarfile
from pathlib import Path

import pytest
import torch
from PIL import Image

import vitdecomp as vd
from vitdecomp.datasets import KINDS, Pictures, open_pictures
from vitdecomp.datasets.folder import Folder
from vitdecomp.datasets.huggingface import HuggingFace
from vitdecomp.datasets.listing import Listing
from vitdecomp.datasets.webdataset import WebDataset
from vitdecomp.images.decoding import decode
from vitdecomp.models.image_loader import load, name

CLASSES = ("cat", "dog", "cat")


def picture(i):
    data = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").rotate(30 * i).save(data, "png")
    return data.getvalue()


def folder(place):
    for i, label in enumerate(CLASSES):
        (place / label).mkdir(parents=True, exist_ok=True)
        (place / label / f"{i}.png").write_bytes(picture(i))
    return place


def listing(place):
    folder(place)
    rows = [f"{label}/{i}.png,{label},{i % 2}" for i, label in enumerate(CLASSES)]
    (place / "list.csv").write_text("\n".join(["Image,label,water", *rows]) + "\n")
    return place / "list.csv"


def webdataset(place):
    place.mkdir()
    for shard, members in (("a.tar", (0, 1)), ("b.tar", (2,))):
        with tarfile.open(place / shard, "w") as tar:
            for i in members:
                files = {"png": picture(i), "cls": CLASSES[i].encode(), "json": json.dumps({"water": i % 2}).encode()}
                for ending, data in files.items():
                    info = tarfile.TarInfo(f"{i:04d}.{ending}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
    return place


def huggingface(place):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=["cat", "dog"]),
            "water": datasets.Value("int64"),
        }
    )
    rows = {
        "image": [{"bytes": picture(i), "path": None} for i in range(3)],
        "label": list(CLASSES),
        "water": [i % 2 for i in range(3)],
    }
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(str(place), num_shards=1)
    return place


MADE = {"folder": folder, "table": listing, "webdataset": webdataset, "hugging face": huggingface}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_recognised_and_gives_the_same_pictures(tmp_path, kind):
    found = open_pictures(MADE[kind](tmp_path / "data"))
    assert type(found) is KINDS[kind]
    assert isinstance(found, Pictures)
    order = {one.id: i for i, one in enumerate(found.pictures)}
    assert len(order) == 3
    read = {found.read(i): one for i, one in enumerate(found.pictures)}
    for i, label in enumerate(CLASSES):
        one = read[picture(i)]
        assert one.label == label
        assert one.groups == ({} if kind == "folder" else {"water": str(i % 2)})


def test_a_folder_is_in_the_order_of_its_names_and_its_folders_are_classes(tmp_path):
    found = Folder(folder(tmp_path / "data"))
    assert [one.id for one in found.pictures] == ["cat/0.png", "cat/2.png", "dog/1.png"]
    (tmp_path / "data" / "3.png").write_bytes(picture(3))
    assert [one.label for one in Folder(tmp_path / "data").pictures] == [None] * 4
    alone = Folder(tmp_path / "data" / "3.png")
    assert [one.id for one in alone.pictures] == ["3.png"]
    assert alone.read(0) == picture(3)


def test_names_that_are_not_utf8_are_spelled(tmp_path):
    place = os.fsencode(tmp_path) + b"/\xe4"
    os.mkdir(place)  # noqa: PTH102 - a name in bytes
    for file in (b"\xff.png", "ä.png".encode()):
        Path(os.fsdecode(place + b"/" + file)).write_bytes(picture(0))
    found = Folder(tmp_path)
    assert [(one.id, one.label) for one in found.pictures] == [("\\xe4/ä.png", "\\xe4"), ("\\xe4/\\xff.png", "\\xe4")]
    assert found.read(0) == found.read(1) == picture(0)
    assert load(Folder(Path(os.fsdecode(place))), 1, lambda image: torch.zeros(3, 2, 2)).pixels.shape == (3, 2, 2)
    for i in range(2):
        name(found, i).encode()


def test_ids_of_shards_name_the_shard(tmp_path):
    found = WebDataset(webdataset(tmp_path / "data"))
    assert [one.id for one in found.pictures] == ["a.tar/0000.png", "a.tar/0001.png", "b.tar/0002.png"]
    assert [one.id for one in WebDataset(tmp_path / "data" / "b.tar").pictures] == ["b.tar/0002.png"]


def test_splits_are_part_of_the_ids(tmp_path):
    datasets = pytest.importorskip("datasets")
    huggingface(tmp_path / "one")
    one = datasets.load_from_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"test": one, "train": one}).save_to_disk(str(tmp_path / "both"))
    found = HuggingFace(tmp_path / "both")
    assert [p.id for p in found.pictures] == [f"{s}/{i:08d}" for s in ("test", "train") for i in range(3)]
    assert decode(found.read(4), "").size == (256, 256)


def test_without_the_package_one_line_says_how_to_get_it(tmp_path, monkeypatch):
    (tmp_path / "dataset_info.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(vd.InputError, match="needs `pip install datasets`"):
        open_pictures(tmp_path)


def test_a_damaged_hugging_face_data_set_is_one_line(tmp_path):
    place = huggingface(tmp_path / "data")
    next(place.glob("*.arrow")).write_bytes(b"half")
    with pytest.raises(vd.InputError, match="cannot read the data set") as told:
        open_pictures(place)
    assert "\n" not in str(told.value)


def test_a_hugging_face_data_set_without_images_is_refused(tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_dict({"text": ["a"]}).save_to_disk(str(tmp_path / "data"))
    with pytest.raises(vd.InputError, match="no column of images: its columns are text"):
        open_pictures(tmp_path / "data")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "no column of paths"),
        ("a,b\n1,2\n", "no column of paths"),
        ("path,label\n", "has no rows"),
        ("path,label\n,cat\n", "line 2: no path"),
        ("path\nx.png\ny.png\nx.png\n", "line 4: x.png is in line 2 already"),
        ("path\nx.png,cat\n", "line 2: more cells than columns"),
    ],
)
def test_a_table_that_is_no_list_of_images_is_refused(tmp_path, content, told):
    (tmp_path / "list.csv").write_text(content)
    with pytest.raises(vd.InputError, match=told):
        open_pictures(tmp_path / "list.csv")


def test_a_table_in_another_encoding_is_refused_and_tabs_are_understood(tmp_path):
    (tmp_path / "list.csv").write_bytes(b"path\n\xff\xfe\n")
    with pytest.raises(vd.InputError, match="cannot read"):
        open_pictures(tmp_path / "list.csv")
    (tmp_path / "list.tsv").write_text("\ufefffile\ty\na, b.png\t3\n", encoding="utf-8")
    found = Listing(tmp_path / "list.tsv").pictures
    assert [(one.id, one.label) for one in found] == [("a, b.png", "3")]


def test_a_table_may_name_a_file_that_is_not_there(tmp_path):
    (tmp_path / "list.csv").write_text("path\nnone.png\n")
    found = Listing(tmp_path / "list.csv")
    with pytest.raises(FileNotFoundError):
        found.read(0)


def test_a_shard_that_is_cut_off_is_refused(tmp_path):
    place = webdataset(tmp_path / "data")
    whole = (place / "a.tar").read_bytes()
    for length in (len(whole) // 3, 700, 100):
        (place / "a.tar").write_bytes(whole[:length])
        with pytest.raises(vd.InputError, match=r"cannot read shard .*a\.tar"):
            open_pictures(place)


def test_a_shard_without_images_is_refused(tmp_path):
    tarfile.open(tmp_path / "a.tar", "w").close()
    with pytest.raises(vd.InputError, match="no images in"):
        open_pictures(tmp_path / "a.tar")


def test_nothing_is_refused(tmp_path):
    with pytest.raises(vd.InputError, match="no file or folder"):
        open_pictures(tmp_path / "nowhere")
    with pytest.raises(vd.InputError, match="no images in"):
        open_pictures(tmp_path)
