"""A task for executors; run as a program, it compares Ray's executor with the local one."""

from dataclasses import dataclass

import pytest

import vitdecomp as vd
from vitdecomp.distributed.executor import Task, executor
from vitdecomp.distributed.local import LocalExecutor
from vitdecomp.distributed.process_group import Ranks


@dataclass(frozen=True)
class Doubles(Task):
    """Numbers to their doubles; zero cannot be doubled."""

    device: str = "cpu"

    def to(self, device):
        return Doubles(device)

    def worker(self, slot):
        return self.doubled

    @staticmethod
    def doubled(items):
        if 0 in items:
            raise vd.InputError("zero cannot be doubled")
        return [2 * item for item in items]


def main():
    ray, items = executor("ray"), [[1], [2, 3], [4]]
    with ray.started() as ranks:
        assert ranks == Ranks()
        assert ray.slots(ranks) >= 8
        found = list(ray.map(Doubles(), items, ranks))
        assert sorted(found) == list(LocalExecutor().map(Doubles(), items, Ranks()))
        assert list(ray.map(Doubles(), [], ranks)) == []
        with pytest.raises(vd.InputError, match=r"^zero cannot be doubled$"):
            list(ray.map(Doubles(), [[0]], ranks))


if __name__ == "__main__":
    main()
