"""One pool serves several that ask the same value, and each has from it what it would have had by itself."""

from __future__ import annotations

import math
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from vitdecomp.trace.linear_graph import run_step
from vitdecomp.trace.passes.sum_pushdown.pool import Pool
from vitdecomp.trace.passes.sum_pushdown.together import own_part, together
from vitdecomp.trace.probe import Derived
from vitdecomp.trace.rule import Gate, Step, same

PLACES = 12
ONE = Gate(same, ("one",))


def made(lanes: list[tuple[int, ...]], groups: tuple[tuple[int, ...], ...]) -> tuple[list[Pool], Derived]:
    """Pools over the second axis with random weights."""
    axis = sum(map(len, groups[:1]))
    gates: dict[Gate, Any] = {ONE: torch.ones(3, 1, dtype=torch.float64)}
    pools = []
    for own in lanes:
        gate = Gate(same, (f"weights {len(gates)}",))
        gates[gate] = torch.randn(*own, 3, math.prod(groups[1]), 1, dtype=torch.float64)
        pools.append(Pool(groups, 0, frozenset({axis}), own, gate))
    return pools, Derived(gates)


def run(x: Tensor, step: Step | None, recorded: Derived) -> Tensor:
    return x if step is None else run_step(step, x, recorded)


@given(st.lists(st.lists(st.integers(1, 3), max_size=2).map(tuple), min_size=1, max_size=4), st.booleans())
def test_each_has_what_it_asked_for(lanes: list[tuple[int, ...]], whole: bool) -> None:
    pools, recorded = made(lanes, ((3,), (PLACES,), (4,)))
    asked = [*pools, None] if whole else [*pools]
    x = torch.randn(3, PLACES, 4, dtype=torch.float64)
    kept = together(asked, ONE, recorded)
    assert kept is not None
    value = run(x, kept.step(), recorded)
    for pool in asked:
        part = value if pool == kept else run(value, own_part(kept, asked, pool), recorded)
        torch.testing.assert_close(part, x if pool is None else run(x, pool.step(), recorded))
    fewer = not whole and sum(map(math.prod, lanes)) < PLACES
    assert bool(kept.pooled) == fewer  # as many sums as places would save nothing


def test_an_axis_of_size_one_may_have_a_factor_or_none() -> None:
    pools, recorded = made([()], ((3,), (1,), (4,)))
    other = Pool(((3,), (), (4,)), 0, frozenset(), (), ONE)
    asked = [other, *pools]
    kept = together(asked, ONE, recorded)
    assert kept is not None
    x = torch.randn(3, 1, 4, dtype=torch.float64)
    value = run(x, kept.step(), recorded)
    torch.testing.assert_close(run(value, own_part(kept, asked, pools[0]), recorded), run(x, pools[0].step(), recorded))


def test_pools_that_see_different_factors_have_nothing_in_common() -> None:
    (pool,), recorded = made([()], ((3,), (PLACES,), (4,)))
    split = Pool(((3,), (3, 4), (4,)), 0, frozenset({1, 2}), (), pool.weights)
    assert together([pool, split], ONE, recorded) is None
    assert together([None, None], ONE, recorded) is None
