"""gtsegs_ijcv.mat, as MATLAB 7.3 writes it: HDF5 behind 512 bytes, references, and axes the other way round."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from mask_files import SIZE, square

from vitdecomp import InputError
from vitdecomp.datasets.masks import open_masked_images

NAMES = ("n02088364", "n02119022")
RNG = np.random.default_rng(0)
PHOTOGRAPHS = RNG.integers(0, 256, (2, *SIZE, 3), dtype=np.uint8)
Write = Callable[..., Path]


@pytest.fixture
def h5py() -> ModuleType:
    return pytest.importorskip("h5py")


@pytest.fixture
def write(tmp_path: Path, h5py: ModuleType) -> Write:
    def written(masks: list[np.ndarray], images: np.ndarray = PHOTOGRAPHS, names: tuple[str, ...] = NAMES) -> Path:
        path = tmp_path / "gtsegs_ijcv.mat"
        with h5py.File(path, "w", userblock_size=512) as file:
            refs = file.create_group("#refs#")

            def cell(name: str, values: np.ndarray) -> object:
                return refs.create_dataset(name, data=values.T).ref

            def column(entries: list[object]) -> np.ndarray:
                found = np.empty((len(entries), 1), dtype=h5py.ref_dtype)
                found[:, 0] = entries
                return found

            inner = [cell(f"m{i}", mask) for i, mask in enumerate(masks)]
            outer = [refs.create_dataset(f"c{i}", data=column([ref])).ref for i, ref in enumerate(inner)]
            texts = [np.frombuffer(name.encode(), np.uint8).astype(np.uint16)[None] for name in names]
            file["value/img"] = column([cell(f"i{i}", image) for i, image in enumerate(images)])
            file["value/gt"] = column(outer)
            if names:
                file["value/target"] = column([cell(f"t{i}", text) for i, text in enumerate(texts)])
        data = path.read_bytes()
        path.write_bytes(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512, b" ") + data[512:])
        return path

    return written


def test_images_and_masks_are_those_that_were_written(write: Write) -> None:
    masks = [square(1), square(1)[::-1]]
    found = open_masked_images(write(masks))
    assert [(record.id, record.class_name) for record in found] == [("00000", NAMES[0]), ("00001", NAMES[1])]
    for record, photograph, mask in zip(found, PHOTOGRAPHS, masks, strict=True):
        image, read = record.load()
        assert np.array_equal(np.asarray(image), photograph)
        assert np.array_equal(read, mask)


def test_gray_images_and_files_without_classes_are_read(write: Write) -> None:
    found = open_masked_images(write([square(1)] * 2, PHOTOGRAPHS[..., 0], ()))
    assert np.array_equal(np.asarray(found[0].image())[..., 2], PHOTOGRAPHS[0, ..., 0])
    assert found[0].class_name is None


def test_other_values_and_sizes_are_refused(write: Write) -> None:
    found = open_masked_images(write([square(2), square(1, size=(30, 20))]))
    with pytest.raises(InputError, match=r"mask number 0 of .*gtsegs_ijcv.mat has other values than 0 and 1"):
        found[0].mask()
    with pytest.raises(InputError, match=r"gtsegs_ijcv.mat, number 1 has 20 x 30 pixels, and image 00001 30 x 20"):
        found[1].mask()
    with pytest.raises(InputError, match=r"image number 0 of .* has values float64"):
        open_masked_images(write([square(1)] * 2, PHOTOGRAPHS / 255))[0].image()


def test_other_files_are_refused(tmp_path: Path, h5py: ModuleType) -> None:
    path = tmp_path / "other.mat"
    path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(600))
    with pytest.raises(InputError, match=r"cannot read .*other.mat: it is not a MATLAB 7.3 file"):
        open_masked_images(path)
    with h5py.File(path, "w") as file:
        file["value/img"] = np.zeros((1, 1))
    with pytest.raises(InputError, match=r"other.mat has no value/img and value/gt: it is not gtsegs_ijcv.mat"):
        open_masked_images(path)
    with h5py.File(path, "a") as file:
        file["value/gt"] = np.zeros((1, 1))
    with pytest.raises(InputError, match=r"cannot read value/img number 0 of .*other.mat: it is damaged"):
        open_masked_images(path)[0].image()


def test_without_h5py_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    (tmp_path / "gtsegs_ijcv.mat").write_bytes(b"")
    with pytest.raises(InputError, match=r"is a MATLAB file: reading it needs h5py: pip install 'vitdecomp\[masks\]'"):
        open_masked_images(tmp_path / "gtsegs_ijcv.mat")
