"""The state of torch around a computation: what a user has set for code of their own does not reach into ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import wraps
from threading import RLock
from typing import Any, TypeVar

import torch
from torch import Tensor

F = TypeVar("F", bound=Callable[..., Any])
SERIAL = RLock()
"""Held where something is changed that all threads share: torch's defaults, its random state, a module's flags."""
AUTOCAST = ("cpu", "cuda", "mps", "xpu")
CPU = "cpu"


@contextmanager
def neutral(like: object = None) -> Iterator[None]:
    """Turn off inference mode, gradients and autocast; set default dtype and device as in a fresh process.

    A default that is that of the images, `like`, stays: their model may have been made for it.
    """
    tensor = like if isinstance(like, Tensor) else None
    dtype = torch.get_default_dtype()
    wanted = dtype if tensor is not None and tensor.dtype == dtype else torch.float32
    devices = {CPU} if tensor is None else {CPU, tensor.device.type}
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        for kind in AUTOCAST:
            if torch.is_autocast_enabled(kind):
                torch.set_autocast_enabled(kind, False)
                stack.callback(torch.set_autocast_enabled, kind, True)
        if torch.get_default_device().type not in devices:
            stack.enter_context(torch.device(CPU))
        stack.enter_context(nullcontext() if dtype == wanted else _default(dtype, wanted))
        yield


def autocast_around() -> bool:
    """Check whether the caller has switched on autocast, which `neutral` switches off."""
    return any(map(torch.is_autocast_enabled, AUTOCAST))


@contextmanager
def _default(dtype: torch.dtype, wanted: torch.dtype) -> Iterator[None]:
    """Another default dtype; one thread at a time, for all threads share it."""
    with SERIAL:
        torch.set_default_dtype(wanted)
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)


def in_neutral_mode(method: F) -> F:
    """Decorate a method to run in `neutral`; its first argument is the images, or nothing."""

    @wraps(method)
    def run(self: Any, *arguments: Any, **named: Any) -> Any:
        with neutral(arguments[0] if arguments else named.get("images")):
            return method(self, *arguments, **named)

    return run  # type: ignore[return-value]


def ordinary(tensor: Tensor) -> Tensor:
    """Return a tensor without history, not made in inference mode, of no subclass such as torchvision's images."""
    found = tensor.detach()
    if found.is_inference():
        found = found.clone()
    return found if type(found) is Tensor else found.as_subclass(Tensor)
