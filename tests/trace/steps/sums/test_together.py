"""One weighted sum serves several requests, and each has from it what it would have had by itself."""

from __future__ import annotations

import math
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from vitdecomp.trace.linear_graph import run_step
from vitdecomp.trace.probe import Derived
from vitdecomp.trace.rule import Gate, Step, same
from vitdecomp.trace.steps.sums.together import own_part, together
from vitdecomp.trace.steps.sums.weighted_sum import WeightedSum

PLACES = 12
ONE = Gate(same, ("one",))


def made(sums: list[tuple[int, ...]], groups: tuple[tuple[int, ...], ...]) -> tuple[list[WeightedSum], Derived]:
    """Sums over the second axis with random weights."""
    axis = sum(map(len, groups[:1]))
    gates: dict[Gate, Any] = {ONE: torch.ones(3, 1, dtype=torch.float64)}
    requests = []
    for own in sums:
        gate = Gate(same, (f"weights {len(gates)}",))
        gates[gate] = torch.randn(*own, 3, math.prod(groups[1]), 1, dtype=torch.float64)
        requests.append(WeightedSum(groups, 0, frozenset({axis}), own, gate))
    return requests, Derived(gates)


def run(x: Tensor, step: Step | None, recorded: Derived) -> Tensor:
    return x if step is None else run_step(step, x, recorded)


@given(st.lists(st.lists(st.integers(1, 3), max_size=2).map(tuple), min_size=1, max_size=4), st.booleans())
def test_each_has_what_it_wanted(sums: list[tuple[int, ...]], whole: bool) -> None:
    requests, recorded = made(sums, ((3,), (PLACES,), (4,)))
    wanted = [*requests, None] if whole else [*requests]
    x = torch.randn(3, PLACES, 4, dtype=torch.float64)
    kept = together(wanted, ONE, recorded)
    assert kept is not None
    value = run(x, kept.step(), recorded)
    for request in wanted:
        part = value if request == kept else run(value, own_part(kept, wanted, request), recorded)
        torch.testing.assert_close(part, x if request is None else run(x, request.step(), recorded))
    fewer = not whole and sum(map(math.prod, sums)) < PLACES
    assert bool(kept.summed) == fewer  # as many sums as places would save nothing


def test_an_axis_of_size_one_may_have_a_factor_or_none() -> None:
    requests, recorded = made([()], ((3,), (1,), (4,)))
    other = WeightedSum(((3,), (), (4,)), 0, frozenset(), (), ONE)
    wanted = [other, *requests]
    kept = together(wanted, ONE, recorded)
    assert kept is not None
    x = torch.randn(3, 1, 4, dtype=torch.float64)
    value = run(x, kept.step(), recorded)
    torch.testing.assert_close(
        run(value, own_part(kept, wanted, requests[0]), recorded), run(x, requests[0].step(), recorded)
    )


def test_requests_that_see_different_factors_have_nothing_in_common() -> None:
    (request,), recorded = made([()], ((3,), (PLACES,), (4,)))
    split = WeightedSum(((3,), (3, 4), (4,)), 0, frozenset({1, 2}), (), request.weights)
    assert together([request, split], ONE, recorded) is None
    assert together([None, None], ONE, recorded) is None
