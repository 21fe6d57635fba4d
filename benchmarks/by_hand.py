"""The same decomposition with hooks, as it is written by hand for one model: timm's ViT with a class token.

It knows the names of the modules, that the representation is the class token behind the last layer norm, and that
nothing else stands between. The embedding, heads, MLPs, biases of output projections, and what the last norm adds or
takes away are all there is, and their sum is the representation. The last norm's mean is held, as its deviation is.

References:
    arXiv 2310.05916, section 3, for heads and for heads x tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from bench import Bench
from jaxtyping import Float
from speed_tasks import Run
from torch import Tensor

Pick = Callable[[tuple[Any, ...], Any], Any]
"""What to keep of the inputs and the output of a module."""


def heads(bench: Bench) -> Run:
    """Return all contributions as vectors, every head."""
    return lambda: contributions(bench.loaded.module, bench.images)


def heads_and_tokens(bench: Bench) -> Run:
    """Products of one direction with what every head takes from every token."""
    direction = bench.directions(1)[0]
    return lambda: products(bench.loaded.module, bench.images, direction)


@torch.no_grad()
def contributions(model: Any, images: Tensor) -> Float[Tensor, "n component d"]:
    """Of the embedding; of heads, MLP and output bias of each block; of the last norm's mean and bias."""
    wanted: dict[str, tuple[Any, Pick]] = {"first": (model.blocks[0], _input), "last": (model.norm, _input)}
    for i, block in enumerate(model.blocks):
        wanted |= {f"z{i}": (block.attn.proj, _input), f"mlp{i}": (block.mlp, _output)}
    with _seen(wanted) as seen:
        model(images)
    parts = [seen["first"][:, :1]]
    for i, block in enumerate(model.blocks):
        z = seen[f"z{i}"][:, 0].unflatten(-1, (block.attn.num_heads, -1))
        parts += [torch.einsum("nhk,dhk->nhd", z, _by_head(block)), seen[f"mlp{i}"][:, :1]]
        parts.append(block.attn.proj.bias.expand(len(images), 1, -1))
    constant = model.norm.bias - _scale(model, seen["last"]) * seen["last"][:, :1].mean(-1, keepdim=True)
    return torch.cat([torch.cat(parts, 1) * _scale(model, seen["last"]), constant], 1)


@torch.no_grad()
def products(model: Any, images: Tensor, direction: Float[Tensor, "d"]) -> Float[Tensor, "n block head token"]:
    """<direction, contribution> of every token by every head, from vectors of all of them, one block at a time."""
    wanted: dict[str, tuple[Any, Pick]] = {"last": (model.norm, _input)}
    for i, block in enumerate(model.blocks):
        wanted |= {f"a{i}": (block.attn.attn_drop, _output), f"qkv{i}": (block.attn.qkv, _output)}
    with _seen(wanted) as seen, _with_patterns(model):
        model(images)
    found = []
    for i, block in enumerate(model.blocks):
        v = seen[f"qkv{i}"].unflatten(-1, (3, block.attn.num_heads, -1))[:, :, 2]
        vectors = torch.einsum("nht,nthk,dhk->nhtd", seen[f"a{i}"][:, :, 0], v, _by_head(block))
        found.append((vectors * _scale(model, seen["last"])[:, None]) @ direction)
    return torch.stack(found, 1)


def _by_head(block: Any) -> Float[Tensor, "d head width"]:
    return block.attn.proj.weight.unflatten(1, (block.attn.num_heads, -1))  # type: ignore[no-any-return]


def _scale(model: Any, last: Tensor) -> Float[Tensor, "n 1 d"]:
    """Return what the last layer norm multiplies the class token by."""
    variance = last[:, :1].var(-1, unbiased=False, keepdim=True)
    return (variance + model.norm.eps).rsqrt() * model.norm.weight  # type: ignore[no-any-return]


def _input(inputs: tuple[Any, ...], output: Any) -> Any:
    return inputs[0]


def _output(inputs: tuple[Any, ...], output: Any) -> Any:
    return output


@contextmanager
def _seen(wanted: Mapping[str, tuple[Any, Pick]]) -> Iterator[dict[str, Tensor]]:
    """Record what modules take or give while the model runs; remove the hooks afterwards."""
    found: dict[str, Tensor] = {}

    def keep(name: str, pick: Pick) -> Callable[..., None]:
        def hook(module: Any, inputs: Any, output: Any) -> None:
            found[name] = pick(inputs, output)

        return hook

    with ExitStack() as stack:
        for name, (module, pick) in wanted.items():
            stack.callback(module.register_forward_hook(keep(name, pick)).remove)
        yield found


@contextmanager
def _with_patterns(model: Any) -> Iterator[None]:
    """Attention written out, since the fused one does not tell its patterns."""
    before = [block.attn.fused_attn for block in model.blocks]
    for block in model.blocks:
        block.attn.fused_attn = False
    try:
        yield
    finally:
        for block, fused in zip(model.blocks, before, strict=True):
            block.attn.fused_attn = fused
