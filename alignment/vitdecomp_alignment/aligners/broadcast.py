"""Broadcast what the first process computes: machines may round differently, and then disagree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from vitdecomp.distributed.process_group import Ranks

Values = tuple[Mapping[str, Tensor], Any]


def broadcast(ranks: Ranks, compute: Callable[[], Values]) -> Values:
    """Compute tensors by name, and values that JSON can hold, in the first process, and send them to all.

    Raises:
        RankError: another process has ended.
    """
    if ranks.world_size == 1:
        return compute()
    tensors, values = compute() if ranks.first else ({}, None)
    own = {name: [list(one.shape), str(one.dtype).removeprefix("torch.")] for name, one in tensors.items()}
    shapes, values = ranks.all_gather([own, values])[0]
    received = {
        name: ranks.all_reduce(tensors[name] if ranks.first else torch.zeros(shape, dtype=getattr(torch, dtype)))
        for name, (shape, dtype) in shapes.items()
    }
    return received, values
