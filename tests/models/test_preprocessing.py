"""Photographs as models expect them."""

import pytest
import torch
from PIL import Image

import vitdecomp as vd
from vitdecomp.models.preprocessing import PlainPreprocess, as_tensor, describe, preprocessing


@pytest.mark.parametrize("size", [(3, 8, 10), (1, 8, 8)])
def test_plain_preprocessing_scales_to_minus_one_and_one(size):
    white = PlainPreprocess(size)(Image.new("RGB", (20, 20), (255, 255, 255)))
    assert torch.equal(white, torch.ones(size))
    assert torch.equal(PlainPreprocess(size)(Image.new("RGB", (20, 20))), -torch.ones(size))


def test_the_models_own_preprocessing_comes_first():
    own = vd.LoadedModel(torch.nn.Identity(), lambda image: torch.zeros(3, 4, 4), "x", input_size=(3, 4, 4))
    assert preprocessing(own) is own.preprocess
    assert preprocessing(vd.LoadedModel(torch.nn.Identity(), None, "x")).size == (3, 224, 224)


def test_channels_that_no_photograph_has_need_a_preprocessing():
    with pytest.raises(vd.InputError, match=r"x takes images of 4 channels.*give it a preprocess"):
        preprocessing(vd.LoadedModel(torch.nn.Identity(), None, "x", input_size=(4, 8, 8)))


def test_a_preprocessing_that_gives_no_image_is_refused():
    with pytest.raises(vd.InputError, match=r"not shape \(3,\)"):
        as_tensor(lambda image: torch.zeros(3), Image.new("RGB", (4, 4)))
    with pytest.raises(vd.InputError, match="not Image"):
        as_tensor(lambda image: image, Image.new("RGB", (4, 4)))


def test_the_description_holds_no_address():
    assert " at 0x" in repr(preprocessing)
    assert " at 0x" not in describe(preprocessing)
