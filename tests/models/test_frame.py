"""Masks go through the same resize and crop as images, whatever library preprocesses them."""

from __future__ import annotations

from copy import copy
from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from vitdecomp import InputError
from vitdecomp.models.frame import Axis, Frame, MaskedPreprocess
from vitdecomp.models.preprocessing import PlainPreprocess
from vitdecomp.models.squeezed import Squeezed

SIZES = ((96, 128), (150, 61), (375, 500), (40, 44))
UNIT = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
CENTER = transforms.Compose([transforms.Resize(72), transforms.CenterCrop(64), transforms.ToTensor(), UNIT])


def timm(crop_pct: float, mode: str, interpolation: str = "bicubic") -> transforms.Compose:
    return create_transform(
        (3, 64, 64), is_training=False, crop_pct=crop_pct, crop_mode=mode, interpolation=interpolation
    )


PREPROCESSES = {
    "center": timm(0.9, "center"),
    "bilinear": timm(0.875, "center", "bilinear"),
    "squash": timm(1.0, "squash"),
    "border": timm(0.9, "border"),
    "padded": timm(1.0, "border"),
}


def random_mask(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 2, (height, width)).astype(np.int8)


def reference(preprocess: transforms.Compose, mask: np.ndarray) -> np.ndarray:
    """Run the library's own resize and crop on the mask, with nearest neighbor; what it pads is not annotated."""
    steps = []
    for step in map(copy, preprocess.transforms[:2]):
        step.interpolation, step.fill = InterpolationMode.NEAREST, 0
        steps.append(step)
    image = Image.fromarray(mask.astype(np.uint8) + 1).convert("RGB")
    return np.asarray(transforms.Compose(steps)(image))[..., 0].astype(int) - 1


def untied(axis: Axis) -> np.ndarray:
    """Where no center of a pixel lies between two pixels of the image, so that one is the nearest."""
    centers = [(place + axis.offset + Fraction(1, 2)) * axis.source / axis.resized for place in range(axis.size)]
    return np.array([center.denominator > 1 for center in centers])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", PREPROCESSES)
def test_masks_are_what_the_library_makes_of_them(name: str, size: tuple[int, int]) -> None:
    mask = random_mask(*size)
    frame = Frame.measure(PREPROCESSES[name], *size)
    clear = untied(frame.rows)[:, None] & untied(frame.columns)
    assert clear.mean() > 0.5 or size == (96, 128)
    assert np.array_equal(frame.mask(mask)[clear], reference(PREPROCESSES[name], mask)[clear])


def test_a_squeezed_mask_does_not_fit_a_cropped_image() -> None:
    image = np.zeros((200, 300), dtype=np.int8)
    image[60:140, 200:280] = 1  # an object off the center
    pixels, mask = MaskedPreprocess(CENTER)(Image.fromarray(255 * image.astype(np.uint8)), image)
    shown = (pixels.mean(0) > 0).numpy()
    squeezed = np.asarray(Image.fromarray(image.astype(np.uint8)).resize((64, 64), Image.Resampling.NEAREST)) > 0
    assert (shown == (mask == 1)).mean() > 0.98
    assert (shown & squeezed).sum() / (shown | squeezed).sum() < 0.7


def test_masks_keep_what_is_not_annotated_and_padding_is_not() -> None:
    mask = np.full((32, 128), -1, dtype=np.int8)
    mask[:, 64:] = 1
    found = Frame.measure(PREPROCESSES["padded"], 32, 128).mask(mask)
    assert (found[24:40, 32:] == 1).all()
    assert (found[24:40, :32] == -1).all()
    assert (found[:24] == -1).all()
    assert (found[40:] == -1).all()


def test_points_are_moved_where_nearest_neighbor_loses_them() -> None:
    mask = np.full((375, 500), -1, dtype=np.int8)
    rows, columns = np.mgrid[25:350:37, 90:410:41]  # all of them in the crop
    mask[rows, columns] = (rows + columns) % 2
    frame = Frame.measure(CENTER, 375, 500)
    kept = frame.mask(mask, points=True)
    assert (kept >= 0).sum() == rows.size
    assert (frame.mask(mask) >= 0).sum() < 0.2 * rows.size
    whole = frame.mask((mask == 1).astype(np.int8))  # a moved point lies within a pixel of where its image shows it
    near = np.pad(kept, 1, constant_values=-1)
    for row, column in zip(*np.nonzero(whole), strict=True):
        assert (near[row : row + 3, column : column + 3] == 1).any()


def test_points_that_meet_are_one_or_none() -> None:
    mask = np.full((640, 640), -1, dtype=np.int8)
    mask[101, 101] = mask[102, 102] = mask[301, 301] = 1
    mask[302, 302] = 0
    found = Frame.measure(PlainPreprocess((3, 64, 64)), 640, 640).mask(mask, points=True)
    assert found[10, 10] == 1
    assert (found >= 0).sum() == 1


def test_a_frame_is_measured_once_for_each_size() -> None:
    calls = []

    def preprocess(image: Image.Image) -> torch.Tensor:
        calls.append(image.size)
        return CENTER(image)

    both = MaskedPreprocess(preprocess)
    for _ in range(3):
        both(Image.new("RGB", (90, 80)), random_mask(80, 90))
    assert len(calls) < 12
    assert both.frame(80, 90) is both.frame(80, 90)


def test_one_channel_is_enough() -> None:
    gray = transforms.Compose([transforms.Grayscale(), transforms.Resize((32, 48)), transforms.ToTensor()])
    frame = Frame.measure(gray, 100, 120)
    assert (frame.rows.resized, frame.columns.resized, frame.rows.offset) == (32, 48, 0)


@pytest.mark.parametrize(
    ("preprocess", "reason"),
    [
        (lambda image: CENTER(image).flip(-1), "it is no resize and crop"),
        (lambda image: CENTER(image).flip(-2), "it is no resize and crop"),
        (lambda image: CENTER(image).transpose(1, 2), "it is no resize and crop"),
        (lambda image: CENTER(image) * 0, "it makes the same of black and white images"),
    ],
)
def test_what_is_no_resize_and_crop_is_refused(preprocess, reason) -> None:
    with pytest.raises(InputError, match=f"preprocessing of 120 x 100 images cannot be applied to masks: {reason}"):
        Frame.measure(preprocess, 100, 120)


def test_masks_of_another_size_and_tiny_images_are_refused() -> None:
    with pytest.raises(InputError, match=r"the mask has 30 x 20 pixels, and the image 120 x 100"):
        Frame.measure(CENTER, 100, 120).mask(random_mask(20, 30))
    with pytest.raises(InputError, match=r"an image of 4 x 100 pixels is too small"):
        Frame.measure(CENTER, 100, 4)


# Squeezed


def test_squeezed_is_the_published_preprocessing() -> None:
    published = transforms.Compose([transforms.Resize((64, 64)), transforms.ToTensor(), UNIT])
    image = Image.effect_mandelbrot((90, 70), (-2, -1.2, 1, 1.2), 30).convert("RGB")
    squeezed = Squeezed(CENTER)
    assert torch.allclose(squeezed(image), published(image), atol=1e-5)
    frame = Frame.measure(squeezed, 70, 90)
    assert (frame.rows, frame.columns) == (
        Axis(70, Fraction(64), Fraction(0), 64),
        Axis(90, Fraction(64), Fraction(0), 64),
    )


def test_a_preprocessing_that_is_not_linear_cannot_be_squeezed() -> None:
    with pytest.raises(InputError, match=r"does not scale values linearly"):
        Squeezed(lambda image: transforms.functional.to_tensor(image) ** 2)
    with pytest.raises(InputError, match=r"does not scale values linearly"):
        Squeezed(lambda image: 0 * transforms.functional.to_tensor(image))
