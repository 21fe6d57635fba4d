"""Pictures come in the order asked for, whoever reads them, and what cannot be read says why."""

import hashlib

import pytest
import torch
from PIL import Image

from vitdecomp.datasets import open_pictures
from vitdecomp.models.image_loader import Loading, digests, load_all
from vitdecomp.models.preprocessing import PlainPreprocess

PREPROCESS = PlainPreprocess((3, 8, 8))


@pytest.fixture
def pictures(tmp_path):
    for i in range(20):
        Image.new("RGB", (16, 16), (12 * i, 0, 0)).save(tmp_path / f"{i:02d}.png")
    whole = (tmp_path / "04.png").read_bytes()
    (tmp_path / "04.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "07.png").write_bytes(b"")
    return open_pictures(tmp_path)


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_the_order_is_that_asked_for(pictures, workers):
    order = [3, 19, 0, 4, 7, 7, *range(20)]
    found = list(load_all(pictures, order, PREPROCESS, Loading(batch_size=2, workers=workers)))
    assert [one.index for one in found] == order
    for one in found:
        if one.index in (4, 7):
            assert isinstance(one.pixels, str)
            assert f"{one.index:02d}.png" in one.pixels
        else:
            assert isinstance(one.pixels, torch.Tensor)
            assert torch.allclose(one.pixels[0], torch.tensor(12 * one.index / 127.5 - 1))
            assert one.digest == hashlib.sha256(pictures.read(one.index)).hexdigest()


def test_threads_read_only_a_little_ahead(pictures):
    asked = []

    def order():
        for i in range(20):
            asked.append(i)
            yield i

    found = load_all(pictures, order(), PREPROCESS, Loading(batch_size=2, workers=2))
    next(found)
    assert len(asked) == 5
    found.close()


def test_digests_are_those_of_the_files_and_empty_where_there_is_none(pictures):
    (pictures.root / "05.png").unlink()
    found = digests(pictures, range(4, 7))
    assert found[0] == hashlib.sha256(pictures.read(0 + 4)).hexdigest()
    assert found[1] == ""
    assert found[2] == hashlib.sha256(pictures.read(6)).hexdigest()
