"""How much memory a run of a graph takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, fx


def peak_bytes(module: fx.GraphModule, *inputs: Tensor) -> int:
    """The most bytes that the values of a graph hold at once, without those of its inputs and weights.

    Views of one tensor count once, as long as any of them is needed. What an operation takes for itself while it runs
    is not in it.
    """
    run = _Weighed(module)
    with torch.no_grad():
        run.run(*inputs)
    return run.peak


class _Weighed(fx.Interpreter):
    """A run that keeps account of the memory that its values hold."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.there, self.users = set[int](), Counter[int]()
        self.held: dict[fx.Node, dict[int, int]] = {}
        self.now = self.peak = 0

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        sizes = {s.data_ptr(): s.nbytes() for s in (t.untyped_storage() for t in _tensors(value))}
        if n.op in ("get_attr", "placeholder"):
            self.there.update(sizes)
        self.held[n] = {place: size for place, size in sizes.items() if place not in self.there}
        self.now += sum(size for place, size in self.held[n].items() if not self.users[place])
        self.users.update(self.held[n].keys())
        self.peak = max(self.peak, self.now)
        for done in self.user_to_last_uses.get(n, ()):
            self._free(self.held.pop(done))
        return value

    def _free(self, sizes: dict[int, int]) -> None:
        self.users.subtract(sizes.keys())
        self.now -= sum(size for place, size in sizes.items() if not self.users[place])


def _tensors(value: Any) -> Iterable[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for each in value:
            yield from _tensors(each)
