"""Latent tokens the slow way: the model itself, run once for each layer and token, with its patterns exchanged."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten


class OwnPatterns(TorchDispatchMode):
    """Put the identity in place of each attention pattern from one on; patterns of a single query stay.

    Args:
        first: the number of the first pattern that is exchanged.
    """

    def __init__(self, first: int) -> None:
        super().__init__()
        self.first, self.seen = first, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        packet = func.overloadpacket
        if packet is aten._scaled_dot_product_flash_attention_for_cpu and self._exchanged(args[0], args[1]):
            return (args[2].clone(), *found[1:])
        if packet in (aten._softmax, aten._safe_softmax) and self._exchanged(found, found.mT):
            return torch.eye(found.shape[-1], dtype=found.dtype).expand_as(found).clone()
        return found

    def _exchanged(self, rows: Tensor, columns: Tensor) -> bool:
        if rows.shape[-2] != columns.shape[-2]:
            return False
        self.seen += 1
        return self.seen > self.first


def latent_tokens(module: nn.Module, last: str, image: Tensor, first: int, axes: tuple[int, ...] = (1,)) -> Tensor:
    """Read every token of one image: run the model once for each, with this token in place of all of them.

    Args:
        module: the model, in evaluation mode.
        last: the module that returns all tokens.
        image: one, `(1, 3, height, width)`.
        first: the number of the first pattern that is exchanged.
        axes: of tokens, in what that module returns.
    """
    places = _count(module, last, image, axes)
    found = []
    for number in range(places):

        def repeat(_: nn.Module, __: Any, x: Tensor, number: int = number) -> Tensor:
            flat = x.movedim(axes, tuple(range(len(axes)))).flatten(0, len(axes) - 1)
            alike = flat[number : number + 1].expand_as(flat)
            sizes = [x.shape[axis] for axis in axes]
            return alike.unflatten(0, sizes).movedim(tuple(range(len(axes))), axes).contiguous()

        hook = module.get_submodule(last).register_forward_hook(repeat)
        with torch.no_grad(), OwnPatterns(first):
            found.append(module(image)[0])
        hook.remove()
    return torch.stack(found)


def _count(module: nn.Module, last: str, image: Tensor, axes: tuple[int, ...]) -> int:
    sizes: list[int] = []

    def note(_: nn.Module, __: Any, x: Tensor) -> None:
        sizes.extend(x.shape[axis] for axis in axes)

    hook = module.get_submodule(last).register_forward_hook(note)
    with torch.no_grad():
        module(image)
    hook.remove()
    return torch.Size(sizes).numel()
