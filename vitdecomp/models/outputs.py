"""Which of the things that a model returns is decomposed: by a function, a key, an attribute or an index."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from inspect import signature
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from vitdecomp._utils.checksum import digest
from vitdecomp.errors import InputError, SpecError

Compute: TypeAlias = Callable[[Any, Tensor], Tensor]
Output: TypeAlias = "str | int | Compute"
JOINED = "+"  # between the names of several outputs
LISTED = 12  # parts of what a model returns that a message names


def call(model: nn.Module, images: Tensor) -> Any:
    """Return the model's own output, which for a module of the user's can be anything."""
    return model(images)


def part_of_result(key: str, otherwise: Compute | None = None) -> Compute:
    """Build a function that takes one part of what a model returns, or something else where there is none."""
    return partial(_part, key, otherwise)


def joined(parts: Sequence[Compute]) -> Compute:
    """Build a function that puts several outputs one behind the other, `(n, sum of d)`."""

    def compute(model: Any, images: Tensor) -> Tensor:
        return torch.cat([part(model, images) for part in parts], 1)

    return compute


def name_of(output: Output) -> str:
    """Name an output in reports and files: by its key, or the qualified name and a checksum of a function."""
    if not callable(output):
        return str(output)
    kind = output if hasattr(output, "__qualname__") else type(output)
    return f"{kind.__module__}.{kind.__qualname__}@{fingerprint(output)[:8]}"


def check_function(output: Compute) -> None:
    """Raise `SpecError` for a function that does not take a module and images."""
    try:
        signature(output).bind(None, None)
    except TypeError as error:
        raise SpecError(
            f"output= is a function (module, images) -> (n, d), and {getattr(output, '__name__', output)} takes other "
            f"arguments ({error}): write it as in lambda module, images: module(images)[:, 0]"
        ) from error
    except ValueError:  # a function of C tells nothing of its arguments
        return


def described(value: Any) -> str:
    """Describe what a model returned, with keys and shapes."""
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)}"
    parts = list(_parts(value))
    if not parts:
        return f"a {type(value).__name__}"
    shown = ", ".join(f"{key!r}: {_shape(part)}" for key, part in parts[:LISTED])
    more = f" and {len(parts) - LISTED} more" if len(parts) > LISTED else ""
    return f"a {type(value).__name__} with {shown}{more}"


def advice(value: Any, n: int) -> str:
    """Return how to say which part of what a model returned for n images is meant."""
    fitting = [key for key, part in _parts(value) if isinstance(part, Tensor) and part.ndim == 2 and len(part) == n]
    if fitting:
        each = " or ".join(f"output={key!r} (--output {key})" for key in fitting[:3])
        return f"Say which one with {each}"
    if isinstance(value, Tensor) and value.ndim > 2 and len(value) == n:
        return "Say which tokens or places with positions=, or in brackets: NAME[0], NAME[(2, 3)], NAME[patches]"
    return "Say how to make it with output=, a function (model, images) -> (n, d), such as lambda m, x: m(x)[:, 0]"


def fingerprint(value: Any) -> str:
    """Compute a checksum that is the same for the same function: of its code, defaults, and what it refers to."""
    return digest(_pieces(value, frozenset()))


def _part(key: str, otherwise: Compute | None, model: nn.Module, images: Tensor) -> Any:
    result: Any = model(images)
    value = result
    for step in [key] if _has(value, key) else key.split("."):
        if not _has(value, step):
            if otherwise is not None:
                return otherwise(model, images)
            raise InputError(f"the model has no output {key!r}: it returns {described(result)}")
        value = _get(value, step)
    return value


def _parts(value: Any) -> Iterator[tuple[Any, Any]]:
    """Keys and parts of a dictionary, a named tuple, a tuple, a list, or an object with attributes."""
    if isinstance(value, Mapping):
        yield from value.items()
    elif hasattr(value, "_fields"):
        yield from zip(value._fields, value, strict=True)
    elif isinstance(value, (tuple, list)):
        yield from enumerate(value)
    elif not isinstance(value, Tensor):
        names: Iterable[str] = getattr(value, "__dataclass_fields__", getattr(value, "__dict__", ()))
        yield from ((name, getattr(value, name)) for name in names)


def _has(value: Any, key: str) -> bool:
    return any(str(known) == key for known, _ in _parts(value)) or (_indexed(value, key) is not None)


def _get(value: Any, key: str) -> Any:
    index = _indexed(value, key)
    return value[index] if index is not None else next(part for known, part in _parts(value) if str(known) == key)


def _indexed(value: Any, key: str) -> int | None:
    """Return the index that a key such as `-1` means in a tuple or a list."""
    if not isinstance(value, (tuple, list)) or not key.removeprefix("-").isdecimal():
        return None
    return int(key) if -len(value) <= int(key) < len(value) else None


def _shape(part: Any) -> str:
    return str(tuple(part.shape)) if isinstance(part, Tensor) else type(part).__name__


def _pieces(value: Any, seen: frozenset[int]) -> Iterator[bytes]:
    """Yield what decides a value, piece by piece; no address, and nothing that differs between two processes."""
    yield type(value).__qualname__.encode()
    if id(value) in seen:
        return
    seen |= {id(value)}
    if isinstance(value, (type(None), bool, int, float, complex, str, bytes)):
        yield repr(value).encode()
    elif isinstance(value, Tensor):
        yield f"{value.dtype} {tuple(value.shape)}".encode()
        yield value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    elif isinstance(value, nn.Module):
        yield repr(value).encode()
        yield from _pieces(dict(value.state_dict()), seen)
    elif isinstance(value, (set, frozenset)):
        yield from sorted(b"".join(_pieces(one, seen)) for one in value)
    elif isinstance(value, Mapping):
        yield from _pieces(tuple(value.items()), seen)
    elif isinstance(value, (tuple, list)):
        for one in value:
            yield from _pieces(one, seen)
    else:
        yield from _code(value, seen)


def _code(value: Any, seen: frozenset[int]) -> Iterator[bytes]:
    """Pieces of a function, a method, a partial or an object."""
    code = getattr(value, "__code__", None)
    yield f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}".encode()
    if hasattr(value, "__func__"):
        yield from _pieces((value.__func__, value.__self__), seen)
    elif hasattr(value, "co_code"):  # a function inside a function
        yield value.co_code
        yield from _pieces((value.co_consts, value.co_names), seen)
    elif code is not None:
        known = {name: value.__globals__[name] for name in code.co_names if name in value.__globals__}
        settings = {name: one for name, one in known.items() if isinstance(one, (int, float, str, tuple))}
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        yield from _pieces((code, value.__defaults__, value.__kwdefaults__, cells, settings), seen)
    elif isinstance(value, partial):
        yield from _pieces((value.func, value.args, value.keywords), seen)
    elif not isinstance(value, type) and hasattr(value, "__dict__"):
        yield from _pieces((type(value).__call__, vars(value)) if callable(value) else vars(value), seen)
