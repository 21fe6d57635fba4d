"""Fields hold the mean places of what elements are made of."""

from __future__ import annotations

import torch

from vitdecomp.trace.axes.fields import Field, together

IMAGE = torch.zeros(1, 3, 4, 6)


def test_pixels_are_at_their_own_places() -> None:
    field = Field.of_image(IMAGE)
    assert [float(axis[0, 2, 3, 5]) for axis in field.at] == [2, 3, 5]
    assert bool((field.seen == 1).all())
    assert float(field.constant.sum()) == 0


def test_a_mean_lies_in_the_middle_and_zeros_count_for_nothing() -> None:
    field = Field.of_image(IMAGE)
    pooled = field.mixed(lambda x: x.mean(-1))
    assert torch.equal(pooled.at[2], torch.full((1, 3, 4), 2.5, dtype=torch.float64))
    assert torch.equal(pooled.at[1], field.at[1][..., 0])
    padded = field.moved(lambda x: torch.nn.functional.pad(x, (1, 1)))
    again = padded.mixed(lambda x: x.mean(-1))
    torch.testing.assert_close(again.at[2], pooled.at[2], rtol=0, atol=1e-12)


def test_moves_keep_places_and_their_spread() -> None:
    field = Field.of_image(IMAGE)
    moved = field.moved(lambda x: x.permute(0, 2, 3, 1).flatten(1, 2).roll(5, 1))
    assert moved.spread == field.spread == 2 + 3 + 5
    assert sorted(moved.at[1][0, :, 0].tolist()) == sorted(field.at[1][0, 0].flatten().tolist())


def test_of_a_sum_the_operand_that_moved_its_elements_tells_the_place() -> None:
    field = Field.of_image(IMAGE)
    mixed = field.mixed(lambda x: x.mean((-1, -2), keepdim=True).expand(x.shape))
    for operands in ([field, mixed], [mixed, field]):
        found = together(operands)
        assert found is not None
        assert torch.equal(found.at[2], field.at[2])
    assert together([]) is None


def test_what_one_operand_does_not_know_another_one_tells() -> None:
    field, zero = Field.of_image(IMAGE), torch.zeros(IMAGE.shape, dtype=torch.float64)
    left = torch.zeros(6, dtype=torch.float64)
    left[:3] = 1
    half = Field(field.seen * left, tuple(a * left for a in field.at), zero, zero)
    constant = Field(zero, (zero, zero, zero), zero + 1, zero + 4)
    found = together([half, constant])
    assert found is not None
    assert bool((found.seen[..., :3] == 1).all())
    assert bool((found.number[..., 3:] == 4).all())
    assert bool((found.number[..., :3] == 0).all())
