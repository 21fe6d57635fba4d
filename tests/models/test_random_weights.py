"""Random weights without zeros."""

import torch
from torch import nn

from vitdecomp.models.random_weights import randomise


def model():
    torch.manual_seed(0)
    built = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))
    nn.init.zeros_(built[3].weight)
    return built


def test_nothing_stays_zero_or_one():
    built = model()
    assert any((p == 0).any() or (p == 1).any() for p in built.parameters())
    randomise(built)
    tensors = [*built.parameters(), built[1].running_mean, built[1].running_var]
    assert not any((t == 0).any() or (t == 1).any() for t in tensors)
    assert (built[1].running_var > 0).all()


def test_the_seed_decides_and_the_global_state_does_not():
    one, two, three = model(), model(), model()
    randomise(one, seed=1)
    torch.rand(5)
    before = torch.get_rng_state()
    randomise(two, seed=1)
    randomise(three, seed=2)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(one[0].weight, two[0].weight)
    assert not torch.equal(one[0].weight, three[0].weight)


def test_matrices_keep_their_size():
    built = model()
    before = built[0].weight.detach().clone()
    randomise(built, scale=0.05)
    change = (built[0].weight - before).norm() / before.norm()
    assert 0.03 < change < 0.08
