"""A cache gives back what was put in, or nothing; it never stops anything, and it stays small."""

import os

import pytest
import torch

from vitdecomp._utils.schema import Versioned
from vitdecomp._utils.tensor_cache import TensorCache
from vitdecomp._utils.tensor_file import TensorFormat
from vitdecomp.errors import OutputError

FORMAT = TensorFormat("vitdecomp.made", "numbers", Versioned, (1,), "they are made again")
X = {"x": torch.arange(3.0)}


def cache(folder, **settings):
    return TensorCache(folder, FORMAT, ".made.safetensors", **settings)


def test_what_is_put_is_found(tmp_path):
    kept = cache(tmp_path / "a" / "b")
    assert kept.get("k") is None
    kept.put("k", Versioned(1), X)
    assert torch.equal(kept.get("k").tensors["x"], X["x"])
    assert [path.name for path in kept.folder.iterdir()] == ["k.made.safetensors"]
    assert kept.get("other") is None
    kept.remove(["k", "never there"])
    assert kept.get("k") is None


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data[:-1] + b"\xff", lambda data: b""])
def test_a_damaged_file_is_none(tmp_path, damage):
    kept = cache(tmp_path)
    kept.put("k", Versioned(1), X)
    kept.path("k").write_bytes(damage(kept.path("k").read_bytes()))
    assert kept.get("k") is None
    kept.put("k", Versioned(1), X)
    assert kept.get("k") is not None


def test_only_a_folder_that_the_user_named_must_be_written(tmp_path, monkeypatch):
    monkeypatch.setenv("VITDECOMP_CACHE", str(tmp_path / "standard"))
    (tmp_path / "standard").write_text("")
    standard = TensorCache.in_folder(tmp_path / "standard" / "below", FORMAT, ".made.safetensors")
    standard.put("k", Versioned(1), X)
    assert standard.get("k") is None
    assert (tmp_path / "standard").read_text() == ""
    (tmp_path / "named").write_text("")
    named = TensorCache.in_folder(tmp_path / "named" / "below", FORMAT, ".made.safetensors")
    assert named.get("k") is None
    with pytest.raises(OutputError, match=r"cannot create .*below"):
        named.put("k", Versioned(1), X)


def test_a_file_that_cannot_be_replaced_is_told(tmp_path):
    kept = cache(tmp_path, required=True)
    (kept.path("k") / "in the way").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"cannot write .*k\.made\.safetensors"):
        kept.put("k", Versioned(1), X)
    cache(tmp_path).put("k", Versioned(1), X)
    assert kept.get("k") is None


def test_the_least_recently_used_goes_first(tmp_path):
    kept = cache(tmp_path)
    for age, key in enumerate("abc"):
        kept.put(key, Versioned(1), X)
        os.utime(kept.path(key), (age + 1, age + 1))
    assert kept.get("a") is not None  # used now
    size = kept.path("a").stat().st_size
    cache(tmp_path, max_bytes=3 * size).put("d", Versioned(1), X)
    assert sorted(path.name[0] for path in tmp_path.iterdir()) == ["a", "c", "d"]
