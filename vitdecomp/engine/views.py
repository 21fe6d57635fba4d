"""A model's linear paths at every granularity, and what else is made of its graph, each once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from vitdecomp._utils.modes import SERIAL
from vitdecomp.engine.ahead import Ahead, push_ahead
from vitdecomp.engine.component_set import ComponentSet, split
from vitdecomp.engine.granularity import BY, By, normalised
from vitdecomp.trace.cache.search import NEURONS, PARTS, TOKENS, Search
from vitdecomp.trace.capture import Captured
from vitdecomp.trace.paths import LinearPaths
from vitdecomp.trace.recorder import Recorder
from vitdecomp.trace.rule import Gate

T = TypeVar("T")


class Views:
    """The linear paths of one model, split into components at any granularity.

    Args:
        search: makes the paths to run, or finds them in its cache.
        paths: the linear paths, as they were found.
    """

    def __init__(self, search: Search, paths: LinearPaths) -> None:
        self.search, self.paths = search, paths
        self._optimized: dict[str, LinearPaths] = {}
        self._made: dict[Any, Any] = {}

    @property
    def captured(self) -> Captured:
        """The model's graph."""
        return self.paths.captured

    def of(self, by: By) -> tuple[LinearPaths, ComponentSet]:
        """Return the paths to run and the components at a granularity.

        Raises:
            SpecError: there is no such granularity.
        """
        by = normalised(by)
        return self.derived(("view", by), lambda: self._split(by))

    def ahead(self, by: By) -> Ahead:
        """Return the constants pushed ahead with the weights of now; see `forget`."""
        paths, _ = self.of(by)
        return self.derived(("ahead", id(paths)), lambda: push_ahead(paths))

    def forget(self) -> None:
        """Forget what was computed from weights that have changed."""
        with SERIAL:
            self._made = {key: made for key, made in self._made.items() if not isinstance(made, Ahead)}

    def recorder(self, gates: Iterable[Gate]) -> Recorder:
        """Return a run of the model that records some gates."""
        known = tuple(dict.fromkeys(gates))
        return self.derived(("recorder", known), lambda: Recorder(self.captured, known))

    def derived(self, key: object, make: Callable[[], T]) -> T:
        """Return what follows from the captured graph, made once."""
        with SERIAL:
            if key not in self._made:
                self._made[key] = make()
            found: T = self._made[key]
        return found

    def _split(self, by: By) -> tuple[LinearPaths, ComponentSet]:
        view = TOKENS if BY[by].tokens else NEURONS if BY[by].neurons else PARTS
        if view not in self._optimized:
            self._optimized[view] = self.search.view(view, self.paths)
        return self._optimized[view], split(self._optimized[view], by)
