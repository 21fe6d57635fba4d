"""Folders of images with masks beside them, and those of Pixel-ImageNet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mask_files import SIZE, gray, palette, photograph, square
from PIL import Image

from vitdecomp import InputError
from vitdecomp.datasets.masks import open_masked_images


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(3):
        photograph(tmp_path / "images" / f"{i}.jpg", 40 * i)
        palette(tmp_path / "masks" / f"{i}.png", square(i + 1))
    return tmp_path


def test_images_come_with_the_masks_of_their_names(folder: Path) -> None:
    found = open_masked_images(folder)
    assert [record.id for record in found] == ["0", "1", "2"]
    for record in found:
        image, mask = record.load()
        assert image.mode == "RGB"
        assert mask.dtype == np.int8
        assert np.array_equal(mask, square())
        assert (record.class_name, record.class_index, record.points) == (None, None, False)
    assert found[0].image().getpixel((0, 0))[0] < found[2].image().getpixel((0, 0))[0]


def test_a_slice_is_a_set(folder: Path) -> None:
    found = open_masked_images(folder)
    assert (len(found), len(found[:2]), found[1:][-1].id) == (3, 2, "2")
    with pytest.raises(IndexError):
        found[3]


def test_any_lossless_mask_is_read(folder: Path) -> None:
    rgb = np.stack([np.zeros(SIZE, np.uint8), square(255), np.zeros(SIZE, np.uint8)], axis=2)
    alpha = np.stack([square(9), np.full(SIZE, 255, np.uint8)], axis=2)
    for i, mask in enumerate((rgb, square(7).astype(np.uint16), alpha)):
        gray(folder / "masks" / f"{i}.png", mask)
    (folder / "masks" / "2.png").unlink()
    Image.fromarray(square() > 0).save(folder / "masks" / "2.bmp")
    for record in open_masked_images(folder):
        assert np.array_equal(record.mask(), square())


def test_255_is_an_object_here(folder: Path) -> None:
    gray(folder / "masks" / "0.png", square(255))
    assert np.array_equal(open_masked_images(folder)[0].mask(), square())


def test_folders_are_classes_and_annotations_are_masks(tmp_path: Path) -> None:
    for name in ("cat/1", "dog/1"):
        photograph(tmp_path / "images" / f"{name}.jpeg")
        gray(tmp_path / "annotations" / f"{name}.png", square())
    found = open_masked_images(tmp_path)
    assert [(record.id, record.class_name) for record in found] == [("cat/1", "cat"), ("dog/1", "dog")]


def test_images_may_lie_elsewhere(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for path in sorted((folder / "images").iterdir()):
        path.rename(elsewhere / path.name)
    photograph(elsewhere / "more.jpg")
    assert len(open_masked_images(folder, images=elsewhere)) == 3


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_masks_are_turned_with_their_images(tmp_path: Path, orientation: int) -> None:
    values = np.stack([square(200)] * 3, axis=2)
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "images").mkdir()
    Image.fromarray(values).save(tmp_path / "images" / "1.png", exif=exif)
    gray(tmp_path / "masks" / "1.png", square())
    image, mask = open_masked_images(tmp_path)[0].load()
    assert image.size == SIZE
    assert np.array_equal(np.asarray(image)[..., 0] > 0, mask == 1)


def test_what_does_not_fit_is_refused(folder: Path) -> None:
    gray(folder / "masks" / "1.png", square(size=(21, 30)))
    with pytest.raises(InputError, match=r"masks/1.png has 30 x 21 pixels, and image 1 30 x 20: give a mask of the"):
        open_masked_images(folder)[1].load()
    (folder / "masks" / "1.png").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"cannot read mask .*1.png: it is no BMP"):
        open_masked_images(folder)[1].load()
    Image.new("F", SIZE[::-1]).save(folder / "masks" / "1.tiff")
    (folder / "masks" / "1.png").unlink()
    with pytest.raises(InputError, match=r"mask .*1.tiff has no whole numbers as values: save masks as PNG"):
        open_masked_images(folder)[1].load()


def test_what_is_missing_is_named(folder: Path) -> None:
    photograph(folder / "images" / "lone.jpg")
    with pytest.raises(InputError, match=r"image .*lone.jpg has none in .*masks: put a mask of the same name there"):
        open_masked_images(folder)
    (folder / "images" / "lone.jpg").unlink()
    photograph(folder / "images" / "1.png")
    with pytest.raises(InputError, match=r"mask .*1.png belongs to 1.jpg and to 1.png in .*images"):
        open_masked_images(folder)
    (folder / "images" / "1.png").unlink()
    gray(folder / "masks" / "more.png", square())
    with pytest.raises(InputError, match=r"mask .*more.png has no image more.\* in .*images: give both the same name"):
        open_masked_images(folder)
    (folder / "masks" / "more.png").unlink()
    photograph(folder / "masks" / "2.jpg")
    with pytest.raises(InputError, match=r"mask .*2.jpg is in a format that changes values: save masks as PNG"):
        open_masked_images(folder)


def test_an_empty_folder_of_masks_is_refused(tmp_path: Path) -> None:
    photograph(tmp_path / "images" / "1.jpg")
    (tmp_path / "masks").mkdir()
    with pytest.raises(InputError, match=r"no masks in .*masks: put a PNG there for each image, of the same name"):
        open_masked_images(tmp_path)
    (tmp_path / "images" / "1.jpg").unlink()
    (tmp_path / "images").rmdir()
    with pytest.raises(InputError, match=r"there is no folder .*images of images"):
        open_masked_images(tmp_path)


# Pixel-ImageNet


@pytest.fixture
def pixel_imagenet(tmp_path: Path) -> Path:
    root = tmp_path / "Pixel-ImageNet"
    for name in ("n01440764/n01440764_10026", "n01443537/n01443537_2"):
        photograph(tmp_path / "ILSVRC2012" / "train" / f"{name}.JPEG")
        photograph(tmp_path / "ILSVRC2012" / "train" / f"{name}0.JPEG")  # most have no mask
        palette(root / f"{name}.png", square(2) + square(0))
    return root


def test_pixel_imagenet_takes_its_images_from_imagenet(pixel_imagenet: Path) -> None:
    imagenet = pixel_imagenet.parent / "ILSVRC2012"
    for images in (imagenet, imagenet / "train", None):
        found = open_masked_images(pixel_imagenet, images=images)
        assert [record.class_name for record in found] == ["n01440764", "n01443537"]
        assert np.array_equal(found[1].mask(), square())
    (pixel_imagenet.parent / "set").mkdir()
    pixel_imagenet.rename(pixel_imagenet.parent / "set" / "masks")
    (imagenet / "train").rename(pixel_imagenet.parent / "set" / "images")
    assert len(open_masked_images(pixel_imagenet.parent / "set")) == 2


def test_all_instances_are_the_object(pixel_imagenet: Path) -> None:
    mask = square(1)
    mask[15:, :5] = 2
    palette(pixel_imagenet / "n01440764" / "n01440764_10026.png", mask)
    found = open_masked_images(pixel_imagenet, images=pixel_imagenet.parent / "ILSVRC2012")
    assert np.array_equal(found[0].mask(), mask > 0)


def test_pixel_imagenet_says_that_it_needs_images(pixel_imagenet: Path) -> None:
    (pixel_imagenet.parent / "ILSVRC2012").rename(pixel_imagenet.parent / "elsewhere")
    with pytest.raises(
        InputError, match=r"images of .*Pixel-ImageNet are not in .*images.*give the folder of ImageNet's"
    ):
        open_masked_images(pixel_imagenet)
