"""Products of tokens with the adjoints of their sums, against loops over tokens and sums."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vitdecomp.trace.passes.token_products import FEW, members_of_sums, token_products

N, HEADS, TOKENS, CHANNELS = 3, 2, 6, 4


def slowly(values: Tensor, adjoints: Tensor, weights: Tensor) -> Tensor:
    found = torch.zeros(len(adjoints), N, HEADS, TOKENS, dtype=torch.float64)
    for s, own in enumerate(weights.expand(-1, N, HEADS, -1)):
        for t in range(TOKENS):
            for direction in range(len(adjoints)):
                found[direction, ..., t] += own[..., t] * (adjoints[direction, :, :, s] * values[:, :, t]).sum(-1)
    return found


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)), dtype=torch.float64)


def one_sum_each(owners: list[int], n: int, heads: int) -> Tensor:
    weights = torch.zeros(max(owners) + 1, n, heads, TOKENS, dtype=torch.float64)
    for token, owner in enumerate(owners):
        weights[owner, ..., token] = random(n, heads) + 3
    return weights


@pytest.mark.parametrize(
    ("weights", "grouped"),
    [
        (one_sum_each([0, 1, 2, 2, 1, 0], N, 1), True),
        (one_sum_each([0, 0, 0, 0, 0, 0], 1, HEADS), True),
        (one_sum_each([0, 1, 1, 1, 1, 1], N, HEADS), False),
        (random(3, N, HEADS, TOKENS), False),
        (random(CHANNELS + 3, N, 1, TOKENS), False),
        (one_sum_each([0, 1, 2, 2, 1, 0], N, 1) * torch.tensor([0.0, 1, 1, 1, 1, 1], dtype=torch.float64), False),
    ],
    ids=["a sum each", "one sum", "sums of other sizes", "few sums", "many sums", "a token in no sum"],
)
@pytest.mark.parametrize("directions", [2, FEW + 1])
def test_they_are_those_of_a_loop(weights: Tensor, grouped: bool, directions: int) -> None:
    values, adjoints = random(N, HEADS, TOKENS, CHANNELS), random(directions, N, HEADS, len(weights), CHANNELS)
    assert (members_of_sums(weights) is not None) == grouped
    found = token_products(values, adjoints, weights)
    torch.testing.assert_close(found, slowly(values, adjoints, weights), rtol=1e-12, atol=1e-12)
