"""Searches in a model's graph: from some nodes to those near them, each once, and never cut short unnoticed."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Set
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from typing import Generic, TypeVar

from torch import fx

from vitdecomp.trace.rule import module_path

T = TypeVar("T", bound=Hashable)
MOST = 4096  # nodes that a search with a limit looks at
CUT = "searches cut short"  # in a node's `meta`


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit of a search that is made for many nodes. What hits it is noted at the node, and told by the report.

    Attributes:
        start: the node that the search is made for.
        sought: what is looked for, in words.
    """

    start: fx.Node
    sought: str


class Search(Generic[T]):
    """The states that can be reached from some, each once, the nearest first.

    Args:
        start: where to begin; these are found too.
        near: those next to a state. It is asked after the state was handed out.
        key: by which states count as the same; the state itself if it is not given.
        order: the smallest one of those that wait comes next; the longest waiting one if it is not given.
        limit: for whom not more than `MOST` states are looked at; all of them if it is not given.

    Attributes:
        cut: whether the limit was hit, so that what was not found may be there all the same.
    """

    def __init__(
        self,
        start: Iterable[T],
        near: Callable[[T], Iterable[T]],
        *,
        key: Callable[[T], Hashable] | None = None,
        order: Callable[[T], int] | None = None,
        limit: Limit | None = None,
    ) -> None:
        self.start, self.near, self.key, self.order, self.limit = start, near, key, order, limit
        self.cut = False

    def __iter__(self) -> Iterator[T]:
        waiting: list[tuple[int, int, T]] = []
        seen, ties = set[Hashable](), count()

        def enter(states: Iterable[T]) -> None:
            for state in states:
                own = state if self.key is None else self.key(state)
                if own not in seen:
                    seen.add(own)
                    heappush(waiting, (0 if self.order is None else self.order(state), next(ties), state))

        enter(self.start)
        looked_at = 0
        while waiting:
            if self.limit is not None and looked_at == MOST:
                self.cut = True
                note_cut(self.limit.start, self.limit.sought, MOST)
                return
            state = heappop(waiting)[-1]
            looked_at += 1
            yield state
            enter(self.near(state))


def ahead(start: fx.Node, stops: Set[fx.Node] = frozenset()) -> Search[fx.Node]:
    """Search a node and all that depend on it without passing some others."""
    return Search([start], lambda node: (user for user in node.users if user not in stops))


def note_cut(start: fx.Node, sought: str, most: int) -> None:
    """Note that a search ended before everything was seen."""
    start.meta.setdefault(CUT, {})[sought] = most


def cut_searches(graph: fx.Graph) -> tuple[str, ...]:
    """Return each search in a graph that was cut short, in words."""
    return tuple(
        f"a search was cut short after {most:,} steps: {sought}, from {node.name} in "
        f"{module_path(node) or 'the model'}; the name, the heads or the coverage there may be wrong"
        for node in graph.nodes
        for sought, most in node.meta.get(CUT, {}).items()
    )
