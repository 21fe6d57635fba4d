"""A digest depends on every byte of what is given, and on nothing else of a tensor."""

import hashlib

import pytest
import torch
from torch import nn

from vitdecomp._utils.checksum import checksum, digest, raw_bytes
from vitdecomp.provenance import weights_checksum


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
def test_the_bytes_of_a_tensor_count_and_its_strides_do_not(dtype):
    x = torch.tensor([[0, 1, 0], [2, 0, 3]]).to(dtype)
    assert digest([x.mT.contiguous().mT]) == digest([x]) == digest([raw_bytes(x)]) == digest(iter([x[:1], x[1:]]))
    assert digest([x.mT]) != digest([x])
    assert digest([x[:0]]) == digest([])


def test_texts_and_bytes_stand_one_behind_the_other():
    assert digest(["grün", b"x"]) == hashlib.sha256("grünx".encode()).hexdigest()
    assert digest(["b", "a"]) != digest(["a", "b"])


def test_checksums_in_files_stay_what_they_were():
    """Written out as the files that exist have them."""
    w, b = torch.tensor([[1.0, 2.0]]), torch.tensor([3.0])
    module = nn.Linear(2, 1)
    module.load_state_dict({"weight": w, "bias": b})
    plain = b"bias (1,);" + b.numpy().tobytes() + b"weight (1, 2);" + w.numpy().tobytes()
    assert weights_checksum(module) == weights_checksum(module.double()) == hashlib.sha256(plain).hexdigest()
    told = b'2 {}["b", "torch.float32", [1]]' + b.numpy().tobytes()
    assert checksum("{}", {"b": b}) == hashlib.sha256(told).hexdigest()
