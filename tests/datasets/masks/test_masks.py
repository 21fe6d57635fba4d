"""The table of formats: which is found where, and what is said where none is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mask_files import gray, photograph, square
from torchvision import transforms

from vitdecomp import InputError, SpecError
from vitdecomp.datasets.masks import FORMATS, Format, open_masked_images
from vitdecomp.metrics import PROTOCOLS, Segmentation
from vitdecomp.models.frame import MaskedPreprocess


def test_places_without_masks_are_refused(tmp_path: Path) -> None:
    photograph(tmp_path / "photographs" / "1.jpg")
    with pytest.raises(InputError, match=r"has no masks in a known format: gtsegs_ijcv.mat \(imagenet-segmentation\);"):
        open_masked_images(tmp_path / "photographs")
    with pytest.raises(InputError, match=r"there is no file or folder .*nowhere"):
        open_masked_images(tmp_path / "nowhere")
    with pytest.raises(SpecError, match=r"no format of masks 'imagenet_s'; did you mean imagenet-s"):
        open_masked_images(tmp_path, "imagenet_s")


@pytest.mark.parametrize("kind", list(FORMATS))
def test_a_named_format_that_is_not_there_is_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises((InputError, SpecError)) as error:
        open_masked_images(tmp_path, kind)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
def test_each_format_names_a_protocol(form: Format) -> None:
    assert form.protocol in PROTOCOLS


def test_what_a_format_does_not_take_is_refused(tmp_path: Path) -> None:
    photograph(tmp_path / "images" / "1.jpg")
    gray(tmp_path / "masks" / "1.png", square())
    with pytest.raises(SpecError, match=r"is of the format folder, which takes no split: leave out val"):
        open_masked_images(tmp_path, split="val")


def test_masks_are_measured_where_the_model_looks(tmp_path: Path) -> None:
    for i in range(3):
        mask = np.zeros((60, 100), dtype=np.uint8)
        mask[10 * i : 10 * i + 25, 40:60] = 1
        gray(tmp_path / "images" / f"{i}.png", 255 * mask)
        gray(tmp_path / "masks" / f"{i}.png", mask)
    prepare = MaskedPreprocess(
        transforms.Compose([transforms.Resize(32), transforms.CenterCrop(28), transforms.ToTensor()])
    )
    found = Segmentation("foreground")
    for record in open_masked_images(tmp_path):
        pixels, mask = prepare(*record.load())
        found.add(pixels.mean(0, keepdim=True), mask[None])
    result = found.result(bootstrap=0)
    assert result.miou.value > 0.85  # the map is the image, blurred by its resize
    assert result.pointing.value == 1
