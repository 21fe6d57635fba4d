"""ImageNet-S: classes are R + 256 G, numbered by WordNet ids, and 1000 is ignored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mask_files import SIZE, gray, photograph

from vitdecomp import InputError, SpecError
from vitdecomp.datasets.masks import open_masked_images

FISH, BIRD = "n01440764", "n01532829"
EVERY = sorted({FISH, BIRD, *(f"n{i:08d}" for i in range(1500000, 1500000 + 917))})  # the 919 of a made-up version
NUMBERS = {name: i for i, name in enumerate(EVERY, 1)}


def encoded(classes: np.ndarray) -> np.ndarray:
    return np.stack([classes % 256, classes // 256, np.zeros_like(classes)], axis=2).astype(np.uint8)


def classes(own: int, other: int = 0) -> np.ndarray:
    found = np.zeros(SIZE, dtype=np.int64)
    found[2:9, 3:11], found[12:15, :20], found[-2:] = own, other, 1000
    return found


@pytest.fixture
def imagenet_s(tmp_path: Path) -> Path:
    root = tmp_path / "ImageNetS919"
    for name, other in ((FISH, NUMBERS[BIRD]), (BIRD, 0)):
        stem = f"{name}/ILSVRC2012_val_{NUMBERS[name]:08d}"
        photograph(root / "validation" / f"{stem}.JPEG")
        gray(root / "validation-segmentation" / f"{stem}.png", encoded(classes(NUMBERS[name], other)))
    (root / "ImageNetS_categories_im919.txt").write_text("\n".join(reversed(EVERY)) + "\n")
    return root


@pytest.mark.parametrize("place", ["ImageNetS919", "."])
def test_the_object_is_what_is_of_the_images_class(imagenet_s: Path, place: str) -> None:
    found = open_masked_images(imagenet_s.parent / place)
    assert [(r.class_name, r.class_index) for r in found] == [(name, NUMBERS[name]) for name in (FISH, BIRD)]
    for record in found:
        mask = record.mask()
        assert (mask[2:9, 3:11] == 1).all()
        assert (mask[-2:] == -1).all()
        assert (mask == 1).sum() == 7 * 8
        assert (mask == 0).sum() == mask.size - 7 * 8 - 2 * SIZE[1]


def test_classes_are_more_than_a_byte(imagenet_s: Path) -> None:
    assert min(NUMBERS[FISH], 256) != max(NUMBERS.values()) > 256
    path = next((imagenet_s / "validation-segmentation" / BIRD).iterdir())
    (imagenet_s / "ImageNetS_categories_im919.txt").unlink()
    gray(path, encoded(classes(700)))
    assert (open_masked_images(imagenet_s)[1].mask() == 1).sum() == 7 * 8  # it shows one class alone


def test_without_all_classes_several_in_a_mask_are_refused(imagenet_s: Path) -> None:
    (imagenet_s / "ImageNetS_categories_im919.txt").unlink()
    found = open_masked_images(imagenet_s)
    assert (found[1].mask() == 1).sum() == 7 * 8
    assert found[1].class_index is None
    with pytest.raises(
        InputError, match=r"shows the classes .* and which is n01440764 is not known: put ImageNetS_cat"
    ):
        found[0].mask()


def test_all_folders_of_a_version_number_its_classes(tmp_path: Path) -> None:
    names = [f"n{i:08d}" for i in range(10, 60)]
    for i, name in enumerate(names, 1):
        photograph(tmp_path / "train-semi" / name / "1.JPEG", size=(20, 30))
        gray(tmp_path / "train-semi-segmentation" / name / "1.png", encoded(classes(i, i % 50 + 1)))
    found = open_masked_images(tmp_path, split="train-semi")
    assert len(found) == 50
    assert all((record.mask() == 1).sum() == 7 * 8 for record in found)
    with pytest.raises(SpecError, match=r"has no split 'validation' with masks; there are: train-semi"):
        open_masked_images(tmp_path)


def test_lists_of_other_versions_are_not_used(imagenet_s: Path) -> None:
    folder = imagenet_s / "data" / "categories"
    folder.mkdir(parents=True)
    (folder / "ImageNetS_categories_im50.txt").write_text("\n".join([FISH, BIRD, *EVERY[:48]]))
    assert open_masked_images(imagenet_s)[1].class_index == NUMBERS[BIRD]
    (imagenet_s / "ImageNetS_categories_im919.txt").write_text("\n".join(f"n{i:08d}" for i in range(919)))
    with pytest.raises(
        InputError, match=r"im919.txt does not list n01440764, which is a folder of .*: it is of another"
    ):
        open_masked_images(imagenet_s)


def test_other_values_are_refused(imagenet_s: Path) -> None:
    path = next((imagenet_s / "validation-segmentation" / BIRD).iterdir())
    for mask, message in (
        (encoded(classes(950)), r"has the class 950: there are 1 .. 919, and 1000"),
        (
            encoded(classes(3)) + np.array([0, 0, 1], np.uint8),
            r"is none of ImageNet-S: the class of a pixel is R \+ 256 G",
        ),
        (classes(3).astype(np.uint8), r"is none of ImageNet-S"),
    ):
        gray(path, mask)
        with pytest.raises(InputError, match=message):
            open_masked_images(imagenet_s)[1].mask()


def test_two_versions_are_one_too_many(imagenet_s: Path) -> None:
    (imagenet_s.parent / "ImageNetS50" / "validation-segmentation").mkdir(parents=True)
    with pytest.raises(InputError, match=r"has 2 versions of ImageNet-S: give one of the folders"):
        open_masked_images(imagenet_s.parent)
