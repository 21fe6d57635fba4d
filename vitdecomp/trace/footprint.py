"""How much memory a run of a graph takes, and how much is free."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx


def peak_bytes(module: fx.GraphModule, *inputs: Tensor) -> int:
    """Measure the most bytes that the values of a graph hold at once, without those of its inputs and weights.

    Views of one tensor count once, as long as any of them is needed. What an operation takes for itself while it runs
    is not in it.
    """
    run = _Weighed(module)
    with torch.no_grad():
        run.run(*inputs)
    return run.peak


def free_bytes(device: torch.device) -> int | None:
    """Return how much memory new tensors may take on a device; `None` where nobody tells."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + unused
    if device.type != "cpu":
        return None
    known = [free for free in (_free_in_machine(), _free_in_container()) if free is not None]
    return min(known, default=None)


def _free_in_machine() -> int | None:
    """Read what Linux says is available without swapping."""
    with suppress(OSError, LookupError, ValueError):
        return 1024 * _table(Path("/proc/meminfo"))["MemAvailable:"]
    return None


def _free_in_container(group: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Read what is left of a container's limit for all its processes; cached files do not count."""
    with suppress(OSError, LookupError, ValueError):
        limit, used = (int((group / f"memory.{name}").read_text()) for name in ("max", "current"))
        return max(0, limit - used + _table(group / "memory.stat")["inactive_file"])
    return None


def _table(path: Path) -> dict[str, int]:
    """Names and numbers of a file, one of each a line."""
    return {line.split()[0]: int(line.split()[1]) for line in path.read_text().splitlines()}


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
