"""Pascal VOC: one record for each class in each image of a split, and 255 is ignored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mask_files import SIZE, gray, palette, photograph, square

from vitdecomp import InputError, SpecError
from vitdecomp.datasets.masks import open_masked_images

CAT, TABLE, DOG = 8, 11, 12


def both() -> np.ndarray:
    mask = square(CAT)
    mask[12:18, 2:9], mask[:, -1] = DOG, 255
    return mask


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    root = tmp_path / "VOCdevkit" / "VOC2012"
    masks = {"2007_000033": both(), "2007_000042": square(DOG), "2007_000061": square(0), "2007_000099": square(CAT)}
    for name, mask in masks.items():
        photograph(root / "JPEGImages" / f"{name}.jpg")
        palette(root / "SegmentationClass" / f"{name}.png", mask)
    splits = root / "ImageSets" / "Segmentation"
    splits.mkdir(parents=True)
    (splits / "val.txt").write_text("2007_000033\n2007_000042\n2007_000061\n")
    (splits / "train.txt").write_text("2007_000099\n")
    return root


@pytest.mark.parametrize("place", ["VOCdevkit/VOC2012", "VOCdevkit", "."])
def test_each_class_of_an_image_is_a_record(voc: Path, place: str) -> None:
    found = open_masked_images(voc.parents[1] / place)
    assert [record.id for record in found] == ["2007_000033/cat", "2007_000033/dog", "2007_000042/dog"]
    assert [record.image_id for record in found] == ["2007_000033", "2007_000033", "2007_000042"]
    assert [record.class_index for record in found] == [CAT, DOG, DOG]
    for record in found[:2]:
        mask = record.mask()
        assert np.array_equal(mask == 1, both() == record.class_index)
        assert np.array_equal(mask == -1, both() == 255)
        assert mask.shape == SIZE


def test_classes_of_two_words_are_read_as_such(voc: Path) -> None:
    palette(voc / "SegmentationClass" / "2007_000099.png", square(TABLE))
    (record,) = open_masked_images(voc, split="train")
    assert (record.id, record.class_name) == ("2007_000099/diningtable", "dining table")


def test_splits_are_the_lists(voc: Path) -> None:
    assert [record.id for record in open_masked_images(voc, split="train")] == ["2007_000099/cat"]
    with pytest.raises(SpecError, match=r"Segmentation has no split 'vall'; did you mean val"):
        open_masked_images(voc, split="vall")


def test_other_masks_are_refused(voc: Path) -> None:
    path = voc / "SegmentationClass" / "2007_000042.png"
    palette(path, square(21))
    with pytest.raises(InputError, match=r"mask .*000042.png has the class 21: there are 0 .. 20, and 255 for what is"):
        open_masked_images(voc)
    gray(path, np.stack([square(128)] * 3, axis=2))
    with pytest.raises(InputError, match=r"mask .*000042.png is in colors: its values must be numbers of classes"):
        open_masked_images(voc)
    path.unlink()
    with pytest.raises(InputError, match=r"cannot read mask .*000042.png: No such file"):
        open_masked_images(voc)
    palette(path, square(DOG, size=(5, 30)))
    with pytest.raises(InputError, match=r"has 30 x 5 pixels, and image 2007_000042 30 x 20"):
        open_masked_images(voc)[2].load()


def test_a_split_without_objects_is_refused(voc: Path) -> None:
    splits = voc / "ImageSets" / "Segmentation"
    (splits / "val.txt").write_text("2007_000061\n")
    with pytest.raises(InputError, match=r"no mask of the split val of .* shows a class"):
        open_masked_images(voc)
    (splits / "val.txt").write_text("")
    with pytest.raises(InputError, match=r"val.txt lists no images"):
        open_masked_images(voc)
