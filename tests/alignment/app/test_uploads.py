"""Images that strangers may have made are looked at before they are decoded."""

import io
import struct
import zlib

import pytest
from PIL import Image
from vitdecomp_alignment.app import uploads as module
from vitdecomp_alignment.app.uploads import Uploads, checked_image, plain_name

from vitdecomp.errors import InputError, SpecError


def png(width=8, height=8):
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(buffer, "PNG")
    return buffer.getvalue()


def bomb(side):
    """A PNG of a few bytes whose header tells of billions of pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_an_image_is_kept_under_a_name_of_our_own(tmp_path):
    kept = Uploads(tmp_path).add(png(), "../../etc/<b>x</b>.png")
    assert kept.path.parent == tmp_path
    assert kept.path.name == f"{kept.id}.image"
    assert kept.image.size == (8, 8)
    assert kept.name == "b>.png"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "format is not one"),
        (b"#!/bin/sh\nrm -rf /", "format is not one"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "format is not one"),
        (png()[:40], "cannot read image"),
        (bomb(8_000), "8,000 x 8,000 pixels, and 50,000,000 are taken"),
        (bomb(60_000), "too many pixels, 50,000,000 are taken"),
    ],
)
def test_what_is_no_image_or_too_large_is_refused(data, why):
    with pytest.raises(InputError, match=why):
        checked_image(data, "it")


def test_a_file_has_a_limit(monkeypatch):
    monkeypatch.setattr(module, "BYTES", 10)
    with pytest.raises(InputError, match="and 10 are taken"):
        checked_image(png(), "it")


def test_only_the_last_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "KEPT", 2)
    uploads = Uploads(tmp_path)
    first, *others = (uploads.add(png(width), "a.png") for width in (1, 2, 3))
    with pytest.raises(SpecError, match="drop it into the page again"):
        uploads.of(first.id)
    assert sorted(tmp_path.iterdir()) == sorted(one.path for one in others)


@pytest.mark.parametrize(
    ("name", "kept"),
    [("a.png", "a.png"), ("C:\\x\\a.png", "a.png"), ("--out=x.png", "out=x.png"), ("", "image"), ("..", "image")],
)
def test_names_are_plain(name, kept):
    assert plain_name(name) == kept
