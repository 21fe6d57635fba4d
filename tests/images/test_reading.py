"""Only regular files are read, and no more of them than a limit."""

import os
import socket
from pathlib import Path

import pytest

from vitdecomp.images.reading import read_file


def test_a_file_is_read_through_links(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    assert read_file(tmp_path / "file") == read_file(tmp_path / "link") == b"content"
    assert read_file(tmp_path / "file", 7) == b"content"
    with pytest.raises(OSError, match="it has 7 bytes, more than 6"):
        read_file(tmp_path / "file", 6)


def pipe(place):
    os.mkfifo(place / "x")
    return place / "x"


def folder(place):
    (place / "x").mkdir()
    return place / "x"


def bound(place):
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(place / "x"))
    return place / "x"


def endless(place):
    (place / "x").symlink_to("/dev/zero")
    return place / "x"


def circle(place):
    (place / "x").symlink_to("x")
    return place / "x"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (pipe, "not a regular file"),
        (bound, "not a regular file"),
        (endless, "not a regular file"),
        (folder, "it is a folder"),
        (circle, "symbolic link"),
        (lambda place: place / "none", "No such file"),
        (lambda place: place / ("a" * 5000), "name too long"),
        (lambda place: Path(f"{place}/a\0b"), "not a valid file name"),
    ],
)
def test_nothing_else_is_opened(tmp_path, monkeypatch, make, reason):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError, match=reason):
        read_file(make(Path()) if make is bound else make(tmp_path))


def test_a_file_of_the_kernel_that_tells_no_size_is_empty():
    assert read_file(Path("/proc/self/environ")) == b""


def test_a_file_is_left_open_neither_when_it_is_read_nor_when_it_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(3):
        read_file(tmp_path / "file")
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
