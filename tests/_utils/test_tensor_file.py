"""A file of tensors is what was written, or it is refused."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import vitdecomp as vd
from vitdecomp._utils.checksum import checksum
from vitdecomp._utils.schema import Versioned
from vitdecomp._utils.tensor_file import TensorFormat

CONTENT = "vitdecomp.test"


def legacy(metadata):
    return metadata.get("before")


@dataclass(frozen=True, slots=True)
class Header(Versioned):
    name: str


HEADER = Header(2, "grün")
TENSORS = {
    "weight": torch.randn(3, 5, generator=torch.Generator().manual_seed(0)),
    "half": torch.randn(4, generator=torch.Generator().manual_seed(1)).bfloat16(),
    "rows": torch.tensor([2, 0, 1]),
    "empty": torch.zeros(0, 3),
    "one": torch.tensor(1.5),
    "flags": torch.tensor([True, False]),
}


FORMAT = TensorFormat(CONTENT, "tests", Header, (0, 1, 2), "make it again", unverified=(0, 1), legacy=legacy)
read = FORMAT.read


@pytest.fixture
def path(tmp_path):
    FORMAT.write(tmp_path / "file.safetensors", HEADER, TENSORS)
    return tmp_path / "file.safetensors"


def test_what_is_written_is_read(path):
    found = read(path)
    assert found.header == HEADER
    assert found.verified
    assert found.tensors.keys() == TENSORS.keys()
    assert all(torch.equal(found.tensors[name], TENSORS[name]) for name in TENSORS)
    assert all(found.tensors[name].dtype == TENSORS[name].dtype for name in TENSORS)


def test_a_flipped_bit_anywhere_is_noticed(path):
    whole, draw = path.read_bytes(), np.random.default_rng(0)
    length = 8 + int.from_bytes(whole[:8], "little")
    header = [8 * i + bit for i in range(length) for bit in range(8)]
    weights = range(8 * length, 8 * len(whole))
    for bit in map(int, [*draw.choice(header, 600, replace=False), *draw.choice(weights, 200, replace=False)]):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(vd.InputError, match="make it again") as error:
            read(path)
        assert str(path) in str(error.value)
    path.write_bytes(whole)
    assert read(path).verified


def test_a_file_cut_short_or_of_something_else_is_refused(path, tmp_path):
    whole = path.read_bytes()
    for n in (0, 4, 8, 100, len(whole) - 1):
        path.write_bytes(whole[:n])
        with pytest.raises(vd.InputError, match="damaged or holds no tests"):
            read(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(vd.InputError, match="damaged or holds no tests"):
        read(path)
    save_file(TENSORS, tmp_path / "other")
    with pytest.raises(vd.InputError, match="holds no tests"):
        read(tmp_path / "other")
    for missing in (tmp_path / "none", tmp_path):
        with pytest.raises(vd.InputError, match="there is no file"):
            read(missing)


def test_a_version_that_had_no_checksum_needs_none_and_any_other_does(tmp_path):
    path = tmp_path / "old"
    save_file(TENSORS, path, {CONTENT: '{"schema": 1, "name": "x"}'})
    assert read(path).header == Header(1, "x")
    assert not read(path).verified
    save_file(TENSORS, path, {"before": '{"schema": 0, "name": "y"}'})
    assert read(path).header == Header(0, "y")
    save_file(TENSORS, path, {CONTENT: '{"schema": 2, "name": "x"}'})
    with pytest.raises(vd.InputError, match="damaged"):
        read(path)


def test_tensors_that_share_memory_are_written(tmp_path):
    weight = torch.randn(4, 4)
    FORMAT.write(tmp_path / "file", HEADER, {"a": weight, "b": weight.T, "c": weight[1:]})
    assert torch.equal(read(tmp_path / "file").tensors["b"], weight.T)


def test_a_checksum_tells_everything_apart_but_order_and_strides():
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2)}
    same = {"b": torch.ones(2), "a": torch.arange(6.0).reshape(2, 3).T.contiguous().T}
    found = checksum("x", tensors)
    assert checksum("x", same) == found
    others = [
        checksum("y", tensors),
        checksum("x", tensors | {"a": tensors["a"].reshape(3, 2)}),
        checksum("x", tensors | {"a": tensors["a"].to(torch.float64)}),
        checksum("x", tensors | {"b": tensors["b"].view(torch.int32)}),
        checksum("x", {"a": tensors["a"], "c": tensors["b"]}),
        checksum("x", {"a": tensors["a"]}),
        checksum("x", tensors | {"b": tensors["b"].nextafter(torch.zeros(2))}),
    ]
    assert len({found, *others}) == 1 + len(others)


def test_nothing_is_left_of_a_file_that_cannot_be_written(tmp_path):
    with pytest.raises(vd.OutputError):
        FORMAT.write(tmp_path / "no" / "file", replace(HEADER, name="x"), TENSORS)
    assert not list(tmp_path.iterdir())


def test_a_damaged_file_of_a_cache_is_as_good_as_none(path):
    assert FORMAT.find(path).header == HEADER
    path.write_bytes(path.read_bytes()[:-1])
    assert FORMAT.find(path) is None
    path.unlink()
    assert FORMAT.find(path) is None
