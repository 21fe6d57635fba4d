"""Photographs: found, opened, preprocessed; and what cannot be."""

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

import vitdecomp as vd
from vitdecomp.images.opening import find_images, open_image, sample_photographs


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "inner").mkdir()
    for name in ("b.png", "a.JPG", "inner/c.webp"):
        Image.new("RGB", (8, 6), (255, 0, 0)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def test_images_are_found_in_all_folders_by_name(folder):
    assert [p.relative_to(folder).as_posix() for p in find_images(folder)] == [
        "a.JPG",
        "b.png",
        "inner/c.webp",
    ]
    assert len(find_images(folder, limit=2)) == 2
    assert find_images(folder / "b.png") == [folder / "b.png"]


def test_no_images_is_an_error(tmp_path):
    with pytest.raises(vd.InputError, match="no images in"):
        find_images(tmp_path)
    with pytest.raises(vd.InputError, match="no file or folder"):
        find_images(tmp_path / "nowhere")


@pytest.mark.parametrize("content", [b"", b"not an image", None])
def test_an_unreadable_image_is_named(tmp_path, content):
    path = tmp_path / "broken.png"
    if content is None:
        Image.new("RGB", (64, 64)).save(path)
        content = path.read_bytes()[:60]
    path.write_bytes(content)
    with pytest.raises(vd.InputError, match=r"cannot read image .*broken\.png"):
        open_image(path)


def test_every_mode_becomes_rgb(tmp_path):
    for mode in ("L", "P", "RGBA", "1"):
        Image.new(mode, (4, 4)).save(tmp_path / "image.png")
        assert open_image(tmp_path / "image.png").mode == "RGB"


def test_sample_photographs_need_no_network():
    photographs = sample_photographs()
    assert [image.size for image in photographs] == [(640, 427), (640, 427)]
    for ours, theirs in zip(photographs, load_sample_images().images, strict=True):
        assert np.array_equal(np.asarray(ours), theirs)
