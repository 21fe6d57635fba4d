"""Files of strangers are data: nothing in them is run, believed about its size, or shown as anything but text."""

import io
import json
import os
import pickle  # noqa: TID251 - to show that none is run
import struct
import tarfile
import time

import h5py
import numpy as np
import pytest
import torch
from commands import in_process, succeeded
from html_reader import read
from made_up import write
from PIL import Image
from vitdecomp_alignment import ClosedForm, load_aligner
from vitdecomp_alignment.texts.feature_words import read_features
from vitdecomp_alignment.texts.pools import read_texts

import vitdecomp as vd
from vitdecomp._utils import limits
from vitdecomp._utils.schema import plain
from vitdecomp.datasets.csv_table import read_table
from vitdecomp.datasets.masks.gtsegs import IMAGES, _array
from vitdecomp.datasets.pairs import _annotations
from vitdecomp.datasets.webdataset import WebDataset
from vitdecomp.store.metadata import Metadata

SCRIPT = "<script>alert(1)</script>"


def sparse(path, size, begin=b""):
    """A file of a size that takes no space."""
    with path.open("wb") as file:
        file.write(begin)
        file.truncate(size)
    return path


@pytest.fixture(autouse=True)
def _quickly():
    """A size that is told is compared, and nothing of that size is read or allocated."""
    began = time.perf_counter()
    yield
    assert time.perf_counter() - began < 60


def tensors(path):
    """A file of safetensors whose header is larger than any, and is there."""
    header = 2 * limits.HEADER
    return sparse(path, header + 8, struct.pack("<Q", header) + b"{")


@pytest.mark.parametrize(
    "load",
    [
        load_aligner,
        ClosedForm.load,
        vd.Debiased.load,
        lambda path: vd.load_model("scenes:deit", checkpoint_path=str(path)),
        lambda path: vd.load_model("timm:vit_tiny_patch16_224", checkpoint_path=str(path)),
    ],
)
def test_a_header_of_safetensors(tmp_path, load):
    with pytest.raises(vd.VitdecompError, match=r"(?i)header.?too.?large|damaged"):
        load(tensors(tmp_path / "x.safetensors"))


def test_a_header_in_json():
    text = " " * (limits.HEADER + 1)
    message = "has 100,000,001 bytes, and no more than 100,000,000 are read"
    with pytest.raises(vd.InputError, match=f"the header of x {message}; mend it"):
        plain(text, place="x", remedy="mend it")
    with pytest.raises(vd.InputError, match=message):
        Metadata.from_json(text, "the metadata of s.lance")


def test_checksums_of_a_large_store_may_be_longer():
    """5 bytes for each MiB: those of a hundred terabytes are longer than any other header, and are not refused."""
    text = json.dumps({"images": {}}) + " " * limits.HEADER
    with pytest.raises(vd.InputError, match="no more than 100,000,000 are read"):
        plain(text, place="x", remedy="")
    assert plain(text, place="x", remedy="", most=limits.INDEX) == {"images": {}}


def test_a_list_of_the_files_of_a_store(tmp_path):
    write(tmp_path / "s.lance", range(0, 20, 10))
    manifest = next((tmp_path / "s.lance" / "images.lance" / "_versions").glob("*.manifest"))
    os.truncate(manifest, limits.FILE + 1)
    with pytest.raises(vd.InputError, match=r"\.manifest has 1,073,741,825 bytes, and no more than 1,073,741,824"):
        vd.Store(tmp_path / "s.lance")


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "model.safetensors.index.json"])
@pytest.mark.parametrize("prefix", ["hf:", "timm:local-dir:", "open_clip:local-dir:"])
def test_a_configuration_of_a_model(tmp_path, prefix, name):
    (tmp_path / "config.json").write_text("{}")
    sparse(tmp_path / name, limits.HEADER + 1)
    with pytest.raises(vd.InputError, match=f"{name} has 100,000,001 bytes"):
        vd.load_model(f"{prefix}{tmp_path}", pretrained=False)


def test_a_checkpoint_with_a_pickle_is_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "run"),)

    (tmp_path / "x.pth").write_bytes(pickle.dumps({"a": Trap()}))
    with pytest.raises(vd.LoadError, match="not safetensors, nor a file of tensors alone"):
        vd.load_model("timm:vit_tiny_patch16_224", checkpoint_path=str(tmp_path / "x.pth"))
    assert not (tmp_path / "run").exists()


def test_code_in_a_model_folder_is_not_run(tmp_path):
    (tmp_path / "modeling_trap.py").write_text(f"import os; os.mkdir({str(tmp_path / 'run')!r})")
    config = {"model_type": "trap", "auto_map": dict.fromkeys(("AutoConfig", "AutoModel"), "modeling_trap.Trap")}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(vd.VitdecompError):
        vd.load_model(f"hf:{tmp_path}")
    assert not (tmp_path / "run").exists()


def test_texts_and_features(tmp_path):
    huge = sparse(tmp_path / "x.json", limits.TEXTS + 1)
    for reader in (read_texts, lambda path: read_features((str(path),), "scenes")):
        with pytest.raises(vd.InputError, match="67,108,865 bytes, more than 67,108,864"):
            reader(huge)


def test_cells_of_a_table(tmp_path):
    (tmp_path / "t.csv").write_text(f"path,label\na.png,{'x' * (limits.CELL + 1)}\n")
    with pytest.raises(vd.InputError, match=r"t\.csv, line 2: field larger than field limit"):
        read_table(tmp_path / "t.csv")
    with pytest.raises(vd.InputError, match="more than 1,073,741,824"):
        read_table(sparse(tmp_path / "u.csv", limits.FILE + 1))


def test_annotations_of_pairs(tmp_path):
    with pytest.raises(vd.InputError, match="100,000,001 bytes, more than 100,000,000"):
        _annotations(sparse(tmp_path / "annotations.json", limits.HEADER + 1))


def test_an_image_in_a_file_of_hdf5(tmp_path):
    """A few bytes may stand for terabytes of zeros."""
    with h5py.File(tmp_path / "x.mat", "w") as file:
        bomb = file.create_dataset("bomb", (2**20, 2**20), np.uint8, chunks=(1024, 1024), compression="gzip")
        file[IMAGES] = np.array([[bomb.ref]], dtype=h5py.ref_dtype)
    with (
        h5py.File(tmp_path / "x.mat") as file,
        pytest.raises(vd.InputError, match=r"x\.mat has 1,099,511,627,776 bytes"),
    ):
        _array(file, tmp_path / "x.mat", IMAGES, 0)


def shard(path, *members, content=b"x", **settings):
    """A tar file with members of some names."""
    with tarfile.open(path, "w", **settings) as tar:
        for name in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("name", ["../x.png", "a/../../x.png", "/etc/x.png", "..\\x.png"])
def test_names_that_lead_out_of_a_shard(tmp_path, name):
    with pytest.raises(vd.InputError, match="leads out of it"):
        WebDataset(shard(tmp_path / "a.tar", "0.png", name))
    assert WebDataset(shard(tmp_path / "b.tar", "0.png", "a..b/c..png")).pictures


@pytest.mark.parametrize("ending", ["json", "cls", "txt"])
def test_labels_and_groups_in_a_shard(tmp_path, ending):
    for size, refused in ((limits.NOTE, False), (limits.NOTE + 1, True)):
        path = shard(tmp_path / "a.tar", "0.png", f"0.{ending}", content=b'"' + b"x" * (size - 2) + b'"')
        if refused:
            with pytest.raises(vd.InputError, match=rf"0\.{ending} in .*a\.tar has 1,048,577 bytes"):
                WebDataset(path)
        else:
            assert len(WebDataset(path).pictures) == 1


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_names_in_a_shard(tmp_path, format):
    assert WebDataset(shard(tmp_path / "a.tar", "x" * 3000 + ".png", format=format)).pictures
    with pytest.raises(vd.InputError, match=r"a name in .*b\.tar has .* bytes, and no more than 1,048,576"):
        WebDataset(shard(tmp_path / "b.tar", "x" * 2**21 + ".png", format=format))


def test_a_sparse_file_in_a_shard(tmp_path):
    info = tarfile.TarInfo("0.png")
    info.size, info.type = 1024, tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[386:482] = b"00000000000\0" * 2 + b"\0" * 72
    header[483:495] = b"77777777777\0"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "a.tar").write_bytes(bytes(header) + b"\0" * 4096)
    with pytest.raises(vd.InputError, match=r"sparse|cannot read shard"):
        WebDataset(tmp_path / "a.tar")


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    """Images and words whose names are markup."""
    place = tmp_path_factory.mktemp("strangers")
    numbers = torch.randint(0, 255, (3, 32, 32, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    (place / "photos" / "<img src=x onerror=alert(2)>").mkdir(parents=True)
    for i, pixels in enumerate(numbers.numpy()):
        name = f"{i}{SCRIPT.replace('/', '')}&amp;.png"
        Image.fromarray(pixels).save(place / "photos" / "<img src=x onerror=alert(2)>" / name)
    (place / "words.json").write_text(json.dumps({SCRIPT: [SCRIPT, "<b>red</b>"], "b": ["forest", "sea"]}))
    (place / "texts.txt").write_text(f"{SCRIPT}\n<b onclick=alert(3)>red</b>\nforest\n")
    return place


STORE = ("extract", "scenes:clip", "--images", "photos", "--out", "s.lance")
SHOWN = ("--text", SCRIPT, "--out", "page.html", "--cache", "cache")
PAGES = {
    "search": (
        "search",
        "scenes:clip",
        "--images",
        "photos",
        *SHOWN,
        "--features",
        "words.json",
        "--feature",
        SCRIPT,
        "--k",
        "3",
    ),
    "store": ("search", "scenes:clip", "--store", "s.lance", "--image-root", "photos", *SHOWN, "--k", "3"),
    "explain": ("explain", "scenes:clip", "--images", "photos", *SHOWN[:4]),
    "latent": ("latent", "scenes:clip", "--images", "photos", "--texts", "texts.txt", *SHOWN[2:4]),
}


@pytest.mark.parametrize("page", [*PAGES])
def test_pages_show_names_and_words_as_text(named, page):
    if page == "store" and not (named / "s.lance").exists():
        succeeded(in_process(named, *STORE, "--quiet"))
    succeeded(in_process(named, *PAGES[page], "--quiet"))
    text = (named / "page.html").read_text(encoding="utf-8")
    seen = read(text)
    assert "alert(1)" in text  # it is there, as text
    assert SCRIPT not in text
    assert not [attributes for _, attributes in seen.elements if any(name.startswith("on") for name in attributes)]
    assert not [one for one in seen.all("img") if one.get("src") == "x"]
