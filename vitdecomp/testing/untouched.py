"""That a module is left as it was: what a user's model must be after anything is done with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from vitdecomp._utils.subclasses import plain_tensors

HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
    "_load_state_dict_pre_hooks",
)


def snapshot(module: nn.Module) -> dict[str, Any]:
    """All that must stay as it was: parameters, buffers, flags, hooks, attributes and the random state."""
    parts = dict(module.named_modules())
    whole = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    tensors = dict(part for name, tensor in whole.items() for part in plain_tensors(name, tensor))
    return {
        "parts": {name: id(part) for name, part in parts.items()},
        "training": {name: part.training for name, part in parts.items()},
        "hooks": {name: [len(getattr(part, hook, ())) for hook in HOOKS] for name, part in parts.items()},
        "attributes": {name: sorted(vars(part)) for name, part in parts.items()},
        "tensors": {name: (id(t), t.dtype, t.device, t.requires_grad) for name, t in tensors.items()},
        "values": {name: repr(t.detach().double().sum().item()) for name, t in tensors.items()},  # NaN is as it was
        "random state": torch.get_rng_state().tolist(),
    }


@contextmanager
def untouched(module: nn.Module) -> Iterator[None]:
    """Raise `AssertionError` if what happens inside changes the module or the global random state."""
    before = snapshot(module)
    yield
    after = snapshot(module)
    changed = [key for key in before if before[key] != after[key]]
    assert not changed, f"{type(module).__name__}: changed {', '.join(changed)}"
