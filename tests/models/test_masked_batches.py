"""Images with masks in batches: the same images and masks as one by one, however they are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from mask_files import gray, photograph, square
from torchvision import transforms

from vitdecomp import InputError
from vitdecomp.datasets.masks import open_masked_images
from vitdecomp.models.frame import MaskedPreprocess
from vitdecomp.models.image_loader import Loading
from vitdecomp.models.masked_batches import masked_batches

PREPARE = MaskedPreprocess(
    transforms.Compose([transforms.Resize(16), transforms.CenterCrop(12), transforms.ToTensor()])
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Five images with masks, the second of which is torn."""
    for i in range(5):
        photograph(tmp_path / "images" / f"{i}.png", shade=40 * i)
        gray(tmp_path / "masks" / f"{i}.png", np.roll(square(), i, axis=1))
    (tmp_path / "images" / "1.png").write_bytes(b"torn")
    return tmp_path


@pytest.mark.parametrize("loading", [Loading(2, 0, True), Loading(3, 2, True), Loading(4, 0, True)])
def test_batches_are_the_images_one_by_one(place: Path, loading: Loading) -> None:
    records, skipped = open_masked_images(place), list[str]()
    batches = list(masked_batches(records, PREPARE, loading, skipped))
    assert skipped == ["1"]
    assert [len(batch) for batch in batches] == [loading.batch_size] * (4 // loading.batch_size) + [
        rest for rest in (4 % loading.batch_size,) if rest
    ]
    assert [record.id for batch in batches for record in batch.records] == ["0", "2", "3", "4"]
    pixels, masks = zip(*(PREPARE(*records[i].load()) for i in (0, 2, 3, 4)), strict=True)
    assert torch.equal(torch.cat([batch.images for batch in batches]), torch.stack(pixels))
    assert np.array_equal(np.concatenate([batch.masks for batch in batches]), np.stack(masks))


def test_an_image_that_cannot_be_read_may_stop_it(place: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read image .*1\.png"):
        list(masked_batches(open_masked_images(place), PREPARE, Loading(2), []))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_mask_that_does_not_fit_always_stops_it(place: Path, workers: int) -> None:
    gray(place / "masks" / "3.png", square(size=(20, 29)))
    with pytest.raises(InputError, match=r"mask .*3\.png has 29 x 20 pixels, and image 3 30 x 20"):
        list(masked_batches(open_masked_images(place), PREPARE, Loading(2, workers, True), []))
