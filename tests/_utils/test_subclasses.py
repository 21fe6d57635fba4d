"""Tensors that are made of others, taken apart."""

from __future__ import annotations

import torch
from torch import nn
from torch.testing._internal.two_tensor import TwoTensor

from vitdecomp._utils.subclasses import is_made_of_others, plain_tensors


def test_a_tensor_is_itself() -> None:
    for tensor in (torch.zeros(3), nn.Parameter(torch.zeros(3))):
        assert not is_made_of_others(tensor)
        ((name, found),) = plain_tensors("weight", tensor)
        assert (name, found is tensor) == ("weight", True)


def test_parts_are_named_by_their_place_however_deep() -> None:
    a, b, c = torch.zeros(3), torch.ones(3), torch.ones(3)
    whole = nn.Parameter(TwoTensor(TwoTensor(a, b), c))
    assert is_made_of_others(whole)
    found = dict(plain_tensors("weight", whole))
    assert list(found) == ["weight.a.a", "weight.a.b", "weight.b"]
    assert all(map(torch.equal, found.values(), (a, b, c)))
    assert not any(map(is_made_of_others, found.values()))
