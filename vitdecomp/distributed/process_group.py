"""The process group that `torchrun` or `accelerate launch` started: rank, collectives, device."""

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
TIMEOUT = timedelta(hours=12)  # a process that ended is noticed at once; this is for one that hangs
JOIN_TIMEOUT = timedelta(minutes=5)  # how long the others may take to start


@dataclass(frozen=True, slots=True)
class Ranks:
    """One process of a group. All processes must call the collective methods in the same order.

    Attributes:
        rank: number of this process, from 0.
        world_size: number of processes.
        local_rank: number of this process on its machine.
        group: of `torch.distributed`; `None` is all processes.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    group: Any = field(default=None, repr=False, compare=False)

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which prints, and writes what is written once."""
        return self.rank == 0

    def shard(self, items: Items) -> Items:
        """Take this process's part of `items`: every `world_size`-th one.

        Returns:
            A slice, of the type of `items`: the shard of a range is a range.
        """
        return items[self.rank :: self.world_size]  # type: ignore[return-value]

    def device(self, name: str) -> str:
        """Give each process a GPU of its machine, unless `name` has a number, such as `cuda:1`."""
        if self.world_size == 1 or not torch.cuda.is_available():
            return name
        return f"cuda:{self.local_rank % torch.cuda.device_count()}" if name in ("auto", "cuda") else name

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """Sum a tensor over all processes; the new tensor is the same bit for bit in each of them.

        Raises:
            RankError: another process has ended.
        """
        if self.world_size == 1:
            return tensor
        summed = tensor.detach().clone().contiguous()
        with _rank_errors():
            dist.all_reduce(summed, group=self.group)
        return summed

    def all_gather(self, value: Any) -> list[Any]:
        """Gather a small value that JSON can hold from every process, in the order of ranks.

        Raises:
            RankError: another process has ended.
        """
        encoded = json.dumps(value).encode()
        if self.world_size == 1:
            return [json.loads(encoded)]
        sizes = self.all_reduce(torch.tensor([len(encoded) * (rank == self.rank) for rank in range(self.world_size)]))
        offsets = [0, *sizes.cumsum(0).tolist()]
        buffer = torch.zeros(offsets[-1], dtype=torch.uint8)
        buffer[offsets[self.rank] : offsets[self.rank + 1]] = torch.tensor(list(encoded), dtype=torch.uint8)
        gathered = bytes(self.all_reduce(buffer).tolist())
        return [json.loads(gathered[start:end]) for start, end in pairwise(offsets)]

    def barrier(self) -> None:
        """Wait until all processes reach this point.

        Raises:
            RankError: another process has ended.
        """
        self.all_reduce(torch.zeros(1))


@contextmanager
def ranks(timeout: timedelta = TIMEOUT) -> Iterator[Ranks]:
    """Join the process group that `torchrun` or `accelerate launch` started; a process alone is `Ranks(0, 1)`.

    CPU tensors go through gloo, GPU tensors through nccl. A group that exists already is not destroyed afterwards.

    Args:
        timeout: how long a collective waits for a process that is alive and does not answer.

    Raises:
        RankError: another process is missing.
    """
    joined, size = _joined(), world_size()
    if size == 1:
        yield Ranks()
        return
    try:
        with _rank_errors():
            if not joined:
                _join(size)
            group = dist.new_group(backend=_backend(), timeout=timeout)
        yield Ranks(dist.get_rank(), size, int(os.environ.get("LOCAL_RANK", "0")), group)
    finally:
        if not joined and dist.is_initialized():
            dist.destroy_process_group()


def world_size() -> int:
    """Count the processes that were started together, without joining them."""
    if _joined():
        return dist.get_world_size()
    return int(os.environ.get("WORLD_SIZE", "1") if "RANK" in os.environ else 1)


def _joined() -> bool:
    return dist.is_available() and dist.is_initialized()


def _join(size: int) -> None:
    """Join the other processes.

    After a restart torchrun may offer the store of the last attempt, with addresses of processes that have ended.
    """
    store, rank, _ = next(rendezvous("env://", timeout=JOIN_TIMEOUT))
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    own = dist.PrefixStore(f"attempt {attempt}", store)  # type: ignore[attr-defined]
    dist.init_process_group(_backend(), store=own, rank=rank, world_size=size, timeout=JOIN_TIMEOUT)


def _backend() -> str:
    return "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"


@contextmanager
def _rank_errors() -> Iterator[None]:
    """Turn torch's errors about a process that has ended into one line."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        detail = " ".join(str(error).split())[:200]
        raise RankError(f"another process of this run has ended: run the same command again ({detail})") from error
