"""A module with another one in a place of it."""

from __future__ import annotations

import copy

from torch import nn


def replaced(module: nn.Module, path: str, new: nn.Module) -> nn.Module:
    """Copy the module with `new` in place of a submodule: weights are shared, the module is not changed."""
    name, _, rest = path.partition(".")
    twin = copy.copy(module)
    # A copy shares the table of submodules with the module itself, so it needs a table of its own.
    child = replaced(module.get_submodule(name), rest, new) if rest else new
    vars(twin)["_modules"] = {**module._modules, name: child}
    return twin
