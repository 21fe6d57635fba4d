"""Models of several inputs: one of them is asked about, the others are held."""

from __future__ import annotations

import inspect
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import get_proxy_mode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_leaves

from vitdecomp.errors import SpecError


class Held(nn.Module):
    """A model whose other inputs are held; made by `hold`.

    Args:
        module: the model; its weights are shared.
        name: the argument that is asked about, `None` for the first.
        held: the other arguments by name.
    """

    prefix = "module."  # of the model's own modules, which components are named without

    def __init__(self, module: nn.Module, name: str | None, held: dict[str, Any]) -> None:
        super().__init__()
        self.module, self.name, self.held = module, name, held
        self.training = module.training  # its own flag alone: train() would reach into the user's model

    def get_submodule(self, target: str) -> nn.Module:
        """Return a module inside the model, by its name there."""
        return self.module.get_submodule(target)

    def forward(self, images: Tensor) -> Any:
        """Run the model on one input, with the others as they are held."""
        others = {name: _for_each(value, images) for name, value in self.held.items()}
        arguments = others if self.name is None else {self.name: images, **others}
        with _OutOfTrace(others) if get_proxy_mode() is not None else nullcontext():
            return self.module(images, **arguments) if self.name is None else self.module(**arguments)


class _OutOfTrace(TorchFunctionMode):
    """Compute what depends on held inputs alone outside of a trace: their values may decide shapes, as constants do."""

    def __init__(self, held: dict[str, Any]) -> None:
        super().__init__()
        self.known = {id(x): x for x in tree_leaves(held) if isinstance(x, Tensor)}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        tensors = [x for x in tree_leaves((args, named)) if isinstance(x, Tensor)]
        if not tensors or any(id(x) not in self.known for x in tensors):
            return func(*args, **named)
        with _disable_current_modes(), torch._C._DisableFuncTorch():
            found = func(*args, **named)
        self.known |= {id(x): x for x in tree_leaves(found) if isinstance(x, Tensor)}
        return found


def hold(module: nn.Module, name: str | None = None, **held: Any) -> Held:
    """Hold all inputs of a model but one, so that it can be decomposed as a model of that one.

    Args:
        module: a model of several inputs, such as an image and a text, or patches and their coordinates.
        name: of the argument that is asked about, `None` for the first.
        held: the other arguments. A tensor for one input, `(1, ...)`, serves every one.

    Returns:
        A module of one input, for `Decomposer` and all others; `output=` names what of its result is meant.

    Raises:
        SpecError: the model has no such arguments.
    """
    signature = inspect.signature(module.forward)
    try:
        signature.bind(**{name: None}, **held) if name else signature.bind(None, **held)
    except TypeError as error:
        known = ", ".join(signature.parameters)
        raise SpecError(f"hold: {error}; the arguments of {type(module).__name__} are {known}") from None
    return Held(module, name, held)


def _for_each(value: Any, images: Tensor) -> Any:
    one = isinstance(value, Tensor) and value.ndim > 0 and len(value) == 1
    return value.expand(images.shape[0], *value.shape[1:]) if one else value
