"""Searches see every state once and in order, and one that is cut short is told by the report."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import pictures, randomised
from hypothesis import given
from hypothesis import strategies as st
from torch import fx, nn

import vitdecomp as vd
from vitdecomp.trace import search
from vitdecomp.trace.search import CUT, Limit, Search, ahead, cut_searches

EDGES = st.dictionaries(st.integers(0, 9), st.lists(st.integers(0, 9), max_size=4), max_size=10)


def reachable(edges: dict[int, list[int]], start: list[int]) -> set[int]:
    """All that can be reached, written out."""
    found = set(start)
    while True:
        more = found | {near for state in found for near in edges.get(state, ())}
        if more == found:
            return found
        found = more


@given(EDGES, st.lists(st.integers(0, 9), max_size=3))
def test_every_state_is_handed_out_once(edges: dict[int, list[int]], start: list[int]) -> None:
    found = list(Search(start, lambda state: edges.get(state, ())))
    assert len(found) == len(set(found))
    assert set(found) == reachable(edges, start)


def test_the_nearest_come_first_and_an_order_takes_their_place() -> None:
    edges = {0: [5, 1], 5: [9], 1: [2]}
    assert list(Search([0], lambda s: edges.get(s, ()))) == [0, 5, 1, 9, 2]
    assert list(Search([0], lambda s: edges.get(s, ()), order=lambda s: s)) == [0, 1, 2, 5, 9]


def test_states_with_one_key_are_one() -> None:
    assert list(Search([1, 11, 2], lambda s: (), key=lambda s: s % 10)) == [1, 2]


def test_what_is_ahead_of_a_node_ends_at_stops() -> None:
    graph = fx.Graph()
    x = graph.placeholder("x")
    a = graph.call_function(torch.neg, (x,))
    b = graph.call_function(torch.abs, (a,))
    c = graph.call_function(torch.exp, (b,))
    assert list(ahead(a)) == [a, b, c]
    assert list(ahead(a, {b})) == [a]


def test_only_what_hits_the_limit_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = fx.Graph()
    node = graph.placeholder("x")
    monkeypatch.setattr(search, "MOST", 5)
    whole = Search(range(5), lambda s: (), limit=Limit(node, "five things"))
    assert (len(list(whole)), whole.cut, node.meta.get(CUT)) == (5, False, None)
    cut = Search(range(6), lambda s: (), limit=Limit(node, "six things"))
    assert (len(list(cut)), cut.cut) == (5, True)
    (told,) = cut_searches(graph)
    assert "six things" in told
    assert "from x" in told


class Far(nn.Module):
    """An attention whose heads are merged a long way before the projection."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.patches, self.attn = nn.Conv2d(3, 8, 8, 8), nn.MultiheadAttention(8, 2, batch_first=True)
        self.steps, self.proj = steps, nn.Linear(8, 8)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.patches(images).flatten(2).mT
        y = self.attn(x, x, x, need_weights=False)[0]
        for _ in range(self.steps):
            y = torch.tanh(y) + y
        return (x + self.proj(y)).mean(1)


def test_the_report_tells_of_a_search_that_was_cut_short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = randomised(Far(6))
    whole = vd.Decomposer(model, cache=None).fit(pictures(1, 32)).report_
    assert not [note for note in whole.notes if "cut short" in note]
    monkeypatch.setattr(search, "MOST", 3)
    for _ in range(2):  # traced, then from the cache of paths
        report = vd.Decomposer(model, cache=tmp_path).fit(pictures(1, 32)).report_
        assert [note for note in report.notes if "a search was cut short after 3 steps" in note]
        assert "cut short" in str(report)
        assert "cut short" in str(report.to_json()["notes"])
