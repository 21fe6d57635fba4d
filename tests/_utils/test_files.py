"""Files are written whole or not at all."""

import pytest

import vitdecomp as vd
from vitdecomp._utils.files import atomic, check_directory, check_file, make_directory


def test_a_file_takes_its_place_when_it_is_whole(tmp_path):
    path = tmp_path / "result.txt"
    with atomic(path) as partial:
        partial.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def write_half(path):
    with atomic(path) as partial:
        partial.write_text("half")
        raise RuntimeError


def test_an_error_leaves_the_earlier_file(tmp_path):
    path = tmp_path / "result.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError):
        write_half(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(vd.OutputError, match="cannot write"), atomic(tmp_path / "missing" / "x") as partial:
        partial.write_text("x")
    with pytest.raises(vd.OutputError, match="not a directory"):
        check_directory(tmp_path / "file" / "folder")
    with pytest.raises(vd.OutputError, match="cannot create"):
        make_directory(tmp_path / "file" / "folder")
    with pytest.raises(vd.OutputError, match="it is a directory"):
        check_file(tmp_path)
    with pytest.raises(vd.OutputError, match="no directory"):
        check_file(tmp_path / "missing" / "x")


def test_checks_create_nothing(tmp_path):
    check_directory(tmp_path / "a" / "b")
    check_file(tmp_path / "x")
    assert not list(tmp_path.iterdir())
