"""Functions by name: what may stand in a file, and nothing else.

A file says which functions a graph calls. A name is looked up among the ATen operations, the functions of a few modules
that only compute, and the functions of `vitdecomp.trace`; there is no other way from a file to code.
"""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Callable
from functools import cache
from types import BuiltinFunctionType, FunctionType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._ops import OpOverload

OWN = "vitdecomp.trace."
OPS = {"aten": torch.ops.aten, "prims": torch.ops.prims}
SPACES: dict[str, Any] = {"operator": operator, "math": math, "functional": F, "torch": torch, "tensor": Tensor}
READS_FILES = {"torch.from_file", "aten.from_file.default", "aten.from_file.out"}
FURTHER = {"torch.sym_max", "torch.sym_min", "torch.sym_float", "torch.sym_int", "torch.sym_not", "tensor.contiguous"}


class UnnamedError(ValueError):
    """Something that cannot stand in a file, or a name that means nothing."""


def name_of(fn: Any) -> str:
    """Return the name under which `named` finds a function.

    Raises:
        UnnamedError: there is none, as for a lambda, a closure, or a function of the user's.
    """
    if isinstance(fn, OpOverload):
        name = str(fn)
    elif isinstance(fn, FunctionType) and fn.__module__.startswith(OWN):
        name = f"{fn.__module__}:{fn.__name__}"
    else:
        name = _spaces().get(fn, "")
    if _found(name) is not fn:
        raise UnnamedError(f"no name for {fn!r}")
    return name


def named(name: str) -> Callable[..., Any]:
    """Return the function of a name.

    Raises:
        UnnamedError: there is none.
    """
    found = _found(name)
    if found is None:
        raise UnnamedError(f"no function {name!r}")
    return found  # type: ignore[no-any-return]


def _found(name: str) -> Any:
    if name in READS_FILES:
        return None
    module, colon, function = name.partition(":")
    if colon:
        found = vars(sys.modules[module]).get(function) if module.startswith(OWN) and module in sys.modules else None
        return found if isinstance(found, FunctionType) and found.__module__ == module else None
    space, _, rest = name.partition(".")
    if space in OPS:
        packet, _, overload = rest.partition(".")
        found = getattr(getattr(OPS[space], packet, None), overload, None)
        return found if isinstance(found, OpOverload) else None
    return _functions().get(name)


@cache
def _functions() -> dict[str, Callable[..., Any]]:
    """Collect the functions of modules that only compute, by name; of torch, those written in C++."""
    found = {f"{space}.{name}": value for space, module in SPACES.items() for name, value in vars(module).items()}
    kinds = {"functional": (BuiltinFunctionType, FunctionType), "tensor": ()}
    return {
        name: value
        for name, value in found.items()
        if name in FURTHER or isinstance(value, kinds.get(name.partition(".")[0], BuiltinFunctionType))
    } | {name: getattr(SPACES[(parts := name.split("."))[0]], parts[1]) for name in FURTHER}


@cache
def _spaces() -> dict[Any, str]:
    return {fn: name for name, fn in _functions().items()}
