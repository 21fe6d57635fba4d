"""What one process finds, in all processes of a run: machines may round differently, and then disagree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from vitdecomp.distributed.process_group import Ranks

Found = tuple[Mapping[str, Tensor], Any]


def of_first(ranks: Ranks, find: Callable[[], Found]) -> Found:
    """Tensors by their names, and values that JSON can write, as the first process finds them.

    Raises:
        RankError: another process is gone.
    """
    if ranks.count == 1:
        return find()
    found, values = find() if ranks.first else ({}, None)
    told = {name: [list(one.shape), str(one.dtype).removeprefix("torch.")] for name, one in found.items()}
    shapes, values = ranks.gathered([told, values])[0]
    tensors = {
        name: ranks.total(found[name] if ranks.first else torch.zeros(shape, dtype=getattr(torch, dtype)))
        for name, (shape, dtype) in shapes.items()
    }
    return tensors, values
