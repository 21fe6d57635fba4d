"""Every kind of image becomes the RGB that a person would see, and plain images the RGB that they were."""

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

import vitdecomp as vd
from vitdecomp.images.decoding import as_rgb, decode
from vitdecomp.images.formats import FORMATS, readable_formats
from vitdecomp.models.preprocessing import as_tensor


def encoded(image, kind, **options):
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def pixels(data):
    found = decode(data, "x")
    assert found.mode == "RGB"
    return np.asarray(found)


def grey(values, kind):
    """What becomes of one channel, which must be grey."""
    found = pixels(encoded(Image.fromarray(values), kind))
    assert (found == found[..., :1]).all()
    return found[..., 0].ravel().tolist()


NOISE = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("JPEG", {"quality": 90}), ("BMP", {}), ("TIFF", {})])
def test_plain_images_are_what_pillow_makes_of_them(kind, options):
    for image in (Image.fromarray(NOISE), Image.fromarray(NOISE[..., 0])):
        data = encoded(image, kind, **options)
        assert np.array_equal(pixels(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM", "JPEG2000"])
def test_sixteen_bits_of_grey_are_scaled(kind):
    levels = np.array([[0, 257, 25700], [32896, 65278, 65535]], dtype=np.uint16)
    assert grey(levels, kind) == [0, 1, 100, 128, 254, 255]
    assert np.asarray(Image.fromarray(levels).convert("RGB")).max() == 255  # the bare conversion clips
    assert len(np.unique(np.asarray(Image.fromarray(levels).convert("RGB")))) < 4


@pytest.mark.parametrize(
    ("values", "seen"),
    [
        ([0.0, 0.25, 0.5, 1.0], [0, 64, 128, 255]),
        ([0.25, 0.25, 0.5, 0.5], [64, 64, 128, 128]),
        ([-10.0, 0.0, 5.0, 10.0], [0, 128, 191, 255]),
        ([0.0, 1000.0, 3000.0, 4000.0], [0, 64, 191, 255]),
        ([float("nan"), 0.0, 2.0, float("inf")], [0, 0, 255, 255]),
        ([0.5, 0.5, 0.5, 0.5], [128, 128, 128, 128]),
        ([7.0, 7.0, 7.0, 7.0], [255, 255, 255, 255]),
    ],
)
def test_floats_are_scaled_by_their_range(values, seen):
    assert grey(np.array(values, dtype=np.float32).reshape(2, 2), "TIFF") == seen


def test_integers_of_32_bits_are_scaled_by_their_range():
    assert grey(np.array([[-70000, 30000], [80000, 130000]], dtype=np.int32), "TIFF") == [0, 128, 191, 255]
    assert pixels(b"P5 2 1 1023\n" + struct.pack(">HH", 0, 1023))[0, :, 0].tolist() == [0, 255]


def test_an_image_without_a_finite_value_is_refused():
    with pytest.raises(vd.InputError, match="cannot read image x: no pixel has a finite value"):
        decode(encoded(Image.fromarray(np.full((2, 2), np.nan, dtype=np.float32)), "TIFF"), "x")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_upright_once(kind, orientation):
    image = Image.new("RGB", (32, 16))
    image.paste("red", (0, 0, 16, 8))
    image.paste("blue", (0, 8, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(image, kind, exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    found = decode(data, "x")
    assert np.array_equal(np.asarray(found), upright)
    assert np.array_equal(np.asarray(as_rgb(found)), upright)
    assert found.size == ((32, 16) if orientation < 5 else (16, 32))


def test_exif_data_that_cannot_be_read_say_nothing():
    data = encoded(Image.fromarray(NOISE), "PNG", exif=b"Exif\0\0MM\0\x2a\xff\xff\xff\xff" + b"\xff" * 9)
    assert np.array_equal(pixels(data), NOISE)


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def sixteen_bit_png(color, clear):
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)) + chunk(b"tRNS", struct.pack(">HHH", *clear))
    body = chunk(b"IDAT", zlib.compress(b"\0" + struct.pack(">HHH", *color))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + head + body


def palette(color):
    image = Image.new("P", (2, 2), 3)
    image.putpalette([channel for i in range(8) for channel in (color if i == 3 else (i, i, i))])
    return image


HIDDEN = (200, 0, 100)
CLEAR = {
    "RGBA": lambda: encoded(Image.new("RGBA", (2, 2), (*HIDDEN, 0)), "PNG"),
    "LA": lambda: encoded(Image.new("LA", (2, 2), (60, 0)), "PNG"),
    "palette of a PNG": lambda: encoded(palette(HIDDEN), "PNG", transparency=3),
    "alpha of a palette": lambda: encoded(palette(HIDDEN), "PNG", transparency=bytes([255, 255, 255, 0])),
    "GIF": lambda: encoded(palette(HIDDEN), "GIF", transparency=3),
    "tRNS of RGB": lambda: encoded(Image.new("RGB", (2, 2), HIDDEN), "PNG", transparency=HIDDEN),
    "tRNS of grey": lambda: encoded(Image.new("L", (2, 2), 60), "PNG", transparency=60),
    "tRNS of 16-bit grey": lambda: encoded(Image.new("I;16", (2, 2), 6000), "PNG", transparency=6000),
    "tRNS of 16-bit RGB": lambda: sixteen_bit_png((1000, 2000, 3000), (1000, 2000, 3000)),
    "tRNS of black and white": lambda: encoded(Image.new("1", (2, 2), 0), "PNG", transparency=0),
    "WebP": lambda: encoded(Image.new("RGBA", (2, 2), (*HIDDEN, 0)), "WEBP", lossless=True, exact=True),
    "TIFF": lambda: encoded(Image.new("RGBA", (2, 2), (*HIDDEN, 0)), "TIFF"),
}


@pytest.mark.parametrize("case", CLEAR)
def test_what_is_transparent_lies_on_white(case):
    assert (pixels(CLEAR[case]()) == 255).all()


def test_what_is_half_transparent_is_half_white_and_what_is_opaque_stays():
    assert pixels(encoded(Image.new("RGBA", (1, 1), (0, 100, 200, 128)), "PNG"))[0, 0].tolist() == [127, 177, 227]
    opaque = np.dstack([NOISE, np.full(NOISE.shape[:2], 255, dtype=np.uint8)])
    assert np.array_equal(pixels(encoded(Image.fromarray(opaque), "PNG")), NOISE)
    assert pixels(encoded(palette(HIDDEN), "PNG"))[0, 0].tolist() == list(HIDDEN)
    assert pixels(sixteen_bit_png((1000, 2000, 3000), (1, 2, 3000)))[0, 0].tolist() == [3, 7, 11]


@pytest.mark.parametrize("mode", ["1", "L", "P", "PA", "CMYK", "YCbCr", "HSV", "RGBX", "La", "RGBa", "I", "F", "I;16"])
def test_every_mode_of_pillow_becomes_rgb(mode):
    assert as_rgb(Image.new(mode, (3, 2))).mode == "RGB"


def test_of_an_animation_the_first_frame_counts():
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    for kind in ("GIF", "PNG", "TIFF"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        assert Image.open(io.BytesIO(data)).n_frames == 2
        assert pixels(data)[0, 0].tolist() == [255, 0, 0]


def test_images_in_memory_are_treated_like_files():
    image = Image.new("RGBA", (4, 4), (*HIDDEN, 0))
    seen = as_tensor(lambda rgb: torch.from_numpy(np.array(rgb)).permute(2, 0, 1).float(), image)
    assert seen.shape == (3, 4, 4)
    assert (seen == 255).all()


@pytest.mark.parametrize("kind", ["EPS", "PDF", "PSD", "WMF", "FITS", "nothing"])
def test_formats_that_are_not_listed_are_refused(kind):
    heads = {
        "PSD": b"8BPS\0\1" + bytes(600),
        "WMF": b"\xd7\xcd\xc6\x9a\0\0" + bytes(600),
        "FITS": b"SIMPLE  =" + b" " * 2880,
    }
    if kind in ("EPS", "PDF"):
        data = encoded(Image.new("RGB", (4, 4)), kind)
    else:
        data = heads.get(kind, b"%!PS-Adobe no image")
    assert kind not in FORMATS
    with pytest.raises(vd.InputError, match="cannot read image x: its format is not one of those that are read"):
        decode(data, "x")


def test_too_many_pixels_are_refused_before_they_are_unpacked(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(vd.InputError, match="cannot read image x: Image size"):
        decode(encoded(Image.new("1", (100, 100)), "PNG"), "x")
    assert pixels(encoded(Image.new("1", (10, 10)), "PNG")).shape == (10, 10, 3)


@pytest.mark.parametrize(
    "kind", sorted({"AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PCX", "PNG", "TGA", "TIFF", "WEBP"})
)
def test_damaged_files_are_one_error_whatever_the_decoder_does(kind):
    whole = encoded(Image.fromarray(np.tile(NOISE, (4, 4, 1))), kind)
    assert kind in readable_formats()
    draw = np.random.default_rng(1)
    for _ in range(40):
        data = bytearray(whole[: draw.integers(1, len(whole) + 1)])
        for place in draw.integers(0, len(data), 3):
            data[place] = draw.integers(256)
        with contextlib.suppress(vd.InputError):
            assert decode(bytes(data), "x").mode == "RGB"
