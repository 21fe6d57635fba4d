"""What decides a model's graph, as a checksum: everything about the model but the values of its weights."""

from __future__ import annotations

import platform
import sys
from collections.abc import Collection, Iterator
from functools import cache, partial
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from vitdecomp._utils.checksum import digest
from vitdecomp.models.adapter import Representation
from vitdecomp.models.outputs import fingerprint as fingerprint_of
from vitdecomp.trace import front_ends
from vitdecomp.trace.cache.graph import tensors
from vitdecomp.trace.cache.named import OWN
from vitdecomp.trace.rule import NONLINEAR, OPENINGS, RULES
from vitdecomp.trace.steps import STEPS

SCHEMA = 1
CODE = Path(__file__).parents[1]  # all that finds the paths
PLAIN = (type(None), bool, int, float, complex, str, torch.Size, torch.dtype, torch.device)


def fingerprint(module: nn.Module, images: Tensor, through: Collection[str] | None) -> str:
    """Compute a checksum of what decides how a module's linear paths run, code of the user's own rules included."""
    return digest(f"{line}\n" for line in (*_descriptions(module, images, through), *_rules()))


def _rules() -> list[str]:
    """Describe all rules; plugins may come in any order."""
    entries = [(op, table.get(op)) for table in (RULES, OPENINGS, NONLINEAR, STEPS) for op in table]
    return sorted(f"{_operation(op)} {_plain(rule)} {_own_code(rule)}" for op, rule in entries)


def _operation(op: Any) -> str:
    """Name an operation, and a function not as Python writes it: with an address, which each process has anew."""
    return _plain(op) if " at 0x" in str(op) else str(op)


def _descriptions(module: nn.Module, images: Tensor, through: Collection[str] | None) -> Iterator[str]:
    device = images.device.type
    yield f"{SCHEMA} {platform.python_version()} {torch.__version__} {own_code()} {list(front_ends.FRONT_ENDS)}"
    yield f"{tuple(images.shape[1:])} {images.dtype} {device} {torch.get_default_dtype()} {through}"
    yield f"{torch.is_autocast_enabled(device)}"
    if isinstance(module, Representation):
        yield f"{fingerprint_of(module.compute)} {_source(getattr(module.compute, '__module__', ''))}"
    files: dict[str, None] = {}
    for path, part in module.named_modules(remove_duplicate=False):
        kind = type(part)
        files[kind.__module__] = None
        yield f"{path} {kind.__module__}.{kind.__qualname__} {part.extra_repr()} {_settings(part)}"
    for name in files:
        yield f"{name} {_source(name)}"
    yield from _weights(module)


def _own_code(rule: Any) -> str:
    """Compute a checksum of code outside this package, whose version would not tell of a change."""
    kind = rule if isinstance(rule, FunctionType) else type(rule)
    if isinstance(rule, str) or str(kind.__module__).startswith(OWN):
        return ""
    functions = [kind] if isinstance(kind, FunctionType) else [f for f in vars(kind).values() if callable(f)]
    codes = [_code(f.__code__, f.__defaults__, f.__closure__) for f in functions if isinstance(f, FunctionType)]
    return f"{_source(kind.__module__)} {codes}"


def _code(code: CodeType, defaults: Any, closure: Any) -> str:
    """Describe what a function does: its instructions, constants and names, and its closure."""
    constants = [_code(c, None, None) if isinstance(c, CodeType) else _plain(c) for c in code.co_consts]
    caught = [_plain(cell.cell_contents) for cell in closure or ()]
    return f"{code.co_code.hex()} {constants} {code.co_names} {_plain(defaults)} {caught}"


def _settings(part: nn.Module) -> str:
    """Describe the plain attributes of a module, such as its number of heads, and how many hooks it has."""
    hooks = len(part._forward_hooks), len(part._forward_pre_hooks)
    plain = {name: _plain(value) for name, value in sorted(vars(part).items()) if name[0] != "_" and name != "training"}
    return f"{hooks} {plain}"


def _plain(value: Any) -> str:
    if isinstance(value, PLAIN):
        return repr(value)
    if isinstance(value, (tuple, list)):
        return f"{type(value).__name__}{[_plain(part) for part in value]}"
    if isinstance(value, partial):
        return f"{_plain(value.func)} {_plain(value.args)} {sorted((k, _plain(v)) for k, v in value.keywords.items())}"
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}.{named.__qualname__}"


def _weights(module: nn.Module) -> Iterator[str]:
    """Names, shapes and formats, which of them are one, which are zero (and close a path), and whole numbers."""
    first: dict[int, int] = {}
    for number, (name, tensor) in enumerate(tensors(module)):
        same = first.setdefault(id(tensor), number)
        yield f"{name} {tuple(tensor.shape)} {tensor.dtype} {tensor.device.type} {same} {_values(tensor)}"


def _values(tensor: Tensor) -> str:
    """Describe a tensor: indices and masks by their values, weights by whether there is anything but zeros."""
    if tensor.is_floating_point() or tensor.is_complex() or tensor.is_meta or tensor.is_quantized:
        return "" if tensor.is_meta else str(_is_zero(tensor.detach().reshape(-1)))
    return digest([tensor])


def _is_zero(flat: Tensor) -> bool:
    """Check whether there is nothing but zeros; a look at a few elements mostly tells."""
    return not bool(flat[:64].count_nonzero()) and not bool(flat.count_nonzero())


@cache
def _source(name: str) -> str:
    """Compute a checksum of the file that a module comes from; torch is identified by its version."""
    file = getattr(sys.modules.get(name), "__file__", None)
    if name.partition(".")[0] == "torch" or file is None or not Path(file).is_file():
        return ""
    return digest([Path(file).read_bytes()])


@cache
def own_code() -> str:
    """Compute a checksum of the code that finds the paths: its version alone would not tell of a change."""
    return digest(file.read_bytes() for file in sorted(CODE.rglob("*.py")))
