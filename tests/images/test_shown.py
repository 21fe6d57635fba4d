"""Images as people see them, whatever a model's normalization."""

import numpy as np
import pytest
import torch
from PIL import Image

import vitdecomp as vd
from vitdecomp.images.shown import picture, shown


def test_tensors_and_pictures_are_shown():
    assert shown(torch.randn(3, 4, 6), (4, 6)).shape == (4, 6, 3)
    assert shown(torch.randn(1, 4, 6), (4, 6)).shape == (4, 6, 3)
    assert shown(Image.new("L", (12, 8)), (4, 6)).shape == (4, 6, 3)
    with pytest.raises(vd.InputError, match="images must be tensors"):
        shown("photo.png", (4, 6))


def test_normalization_is_undone_where_a_channel_uses_its_whole_range():
    pixels = np.array([[0, 255, 51], [102, 0, 255]], dtype=np.uint8)
    scaled = torch.from_numpy(pixels / 255)
    image = torch.stack([scaled * 3 - 1, scaled / 7 + 2, scaled])
    assert np.array_equal(np.asarray(picture(shown(image, (2, 3)))), np.stack([pixels] * 3, -1))
