"""The processes that torchrun started together: which of them this is, and what they tell one another."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from vitdecomp.errors import RankError

Items = TypeVar("Items", bound=Sequence[Any])
PATIENCE = timedelta(hours=12)  # one whose process ended is noticed at once; this is for one that hangs
JOINING = timedelta(minutes=5)  # how long the others may take to start


@dataclass(frozen=True, slots=True)
class Ranks:
    """One of the processes of a run. What it asks of the others they must all ask, in the same order.

    Attributes:
        rank: its number, from 0.
        count: how many processes there are.
        local: its number among those of its machine.
        group: of `torch.distributed`; `None` is all processes.
    """

    rank: int = 0
    count: int = 1
    local: int = 0
    group: Any = field(default=None, repr=False, compare=False)

    @property
    def first(self) -> bool:
        """Whether this is the one that prints, and that writes what is written once."""
        return self.rank == 0

    def share(self, items: Items) -> Items:
        """What this process takes of work that all know, every so manieth item.

        A slice of the same kind: the shares of a range are ranges.
        """
        return items[self.rank :: self.count]  # type: ignore[return-value]

    def device(self, name: str) -> str:
        """The device of this process: each takes a GPU of its machine, unless it is named by its number."""
        if self.count == 1 or not torch.cuda.is_available():
            return name
        return f"cuda:{self.local % torch.cuda.device_count()}" if name in ("auto", "cuda") else name

    def total(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor over all processes: a new tensor, the same bit for bit in each of them.

        Raises:
            RankError: another process is gone.
        """
        if self.count == 1:
            return tensor
        found = tensor.detach().clone().contiguous()
        with _together():
            dist.all_reduce(found, group=self.group)
        return found

    def gathered(self, value: Any) -> list[Any]:
        """What every process gives, in their order: anything small that JSON can write.

        Raises:
            RankError: another process is gone.
        """
        told = json.dumps(value).encode()
        if self.count == 1:
            return [json.loads(told)]
        sizes = self.total(torch.tensor([len(told) * (rank == self.rank) for rank in range(self.count)]))
        places = [0, *sizes.cumsum(0).tolist()]
        flat = torch.zeros(places[-1], dtype=torch.uint8)
        flat[places[self.rank] : places[self.rank + 1]] = torch.tensor(list(told), dtype=torch.uint8)
        said = bytes(self.total(flat).tolist())
        return [json.loads(said[start:end]) for start, end in pairwise(places)]

    def barrier(self) -> None:
        """Wait until all processes are here.

        Raises:
            RankError: another process is gone.
        """
        self.total(torch.zeros(1))


@contextmanager
def ranks(patience: timedelta = PATIENCE) -> Iterator[Ranks]:
    """Join the processes that `torchrun` or `accelerate launch` started; one alone is `Ranks(0, 1)`, at no cost.

    CPU tensors go through gloo, those of a GPU through nccl. If they are joined already, they stay so afterwards.

    Args:
        patience: how long to wait for a process that is alive and does not answer.

    Raises:
        RankError: another process is not there.
    """
    there, count = _joined(), started_together()
    if count == 1:
        yield Ranks()
        return
    try:
        with _together():
            if not there:
                _join(count)
            group = dist.new_group(backend=_backend(), timeout=patience)
        yield Ranks(dist.get_rank(), count, int(os.environ.get("LOCAL_RANK", "0")), group)
    finally:
        if not there and dist.is_initialized():
            dist.destroy_process_group()


def started_together() -> int:
    """How many processes a run has; none is joined."""
    if _joined():
        return dist.get_world_size()
    return int(os.environ.get("WORLD_SIZE", "1") if "RANK" in os.environ else 1)


def _joined() -> bool:
    return dist.is_available() and dist.is_initialized()


def _join(count: int) -> None:
    """Find the other processes.

    After a restart torchrun may offer the store of the attempt before, with addresses of processes that are dead.
    """
    store, rank, _ = next(rendezvous("env://", timeout=JOINING))
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    own = dist.PrefixStore(f"attempt {attempt}", store)  # type: ignore[attr-defined]
    dist.init_process_group(_backend(), store=own, rank=rank, world_size=count, timeout=JOINING)


def _backend() -> str:
    return "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"


@contextmanager
def _together() -> Iterator[None]:
    """What torch says when another process is gone, as one line."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        said = " ".join(str(error).split())[:200]
        raise RankError(f"another process of this run is gone: run the same command again ({said})") from error
