"""Each method equals a slow version that is written out."""

from __future__ import annotations

import torch
from families import case
from torch import Tensor

import vitdecomp as vd

NAME = "vit_cls"


def hooked(x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The representation, and the patterns of all blocks, written out on the module of timm."""
    model, patterns = case(NAME).module, []
    tokens = model._pos_embed(model.patch_embed(x))
    for block in model.blocks:
        y, attn = block.norm1(tokens), block.attn
        q, k, v = attn.qkv(y).unflatten(2, (3, attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
        pattern = (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1)
        patterns.append(pattern)
        tokens = tokens + attn.proj((pattern @ v).transpose(1, 2).flatten(2))
        tokens = tokens + block.mlp(block.norm2(tokens))
    return model.norm(tokens)[:, 0], patterns


def slow(x: Tensor, q: Tensor) -> dict[str, Tensor]:
    """Maps of one image and one direction by formulas for a model with a class token."""
    output, patterns = hooked(x[None].requires_grad_())
    gradients = torch.autograd.grad((output @ q).sum(), patterns)
    t = patterns[0].shape[-1]
    rollout, chefer = torch.eye(t, dtype=x.dtype), torch.eye(t, dtype=x.dtype)
    for pattern, gradient in zip(patterns, gradients, strict=True):
        mixed = pattern[0].mean(0) + torch.eye(t, dtype=x.dtype)
        rollout = mixed / mixed.sum(-1, keepdim=True) @ rollout
        chefer = chefer + (pattern * gradient).clamp_min(0)[0].mean(0) @ chefer
    last, g = patterns[-1][0, :, 0], gradients[-1][0, :, 0]
    cam = (g.mean(-1, keepdim=True) * last).mean(0).clamp_min(0)
    found = {"rollout": rollout[0], "chefer": chefer[0], "raw-attention": last.mean(0), "attention-gradcam": cam}
    return {name: row[1:].detach().unflatten(0, (4, 4)) for name, row in found.items()}


def test_products_and_rows_are_those_of_the_formulas() -> None:
    known = case(NAME)
    q = torch.randn(48, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(hooked(known.images)[0], known.contributions.total(), rtol=1e-10, atol=1e-10)
    expected = slow(known.images[1], q)
    for method, grid in expected.items():
        found = vd.explain(known.decomposer, known.images[1:2], q[None], method=method).grid[0, 0]
        torch.testing.assert_close(found, grid, rtol=1e-9, atol=1e-12, msg=method)


def test_values_are_the_direct_path_without_the_pattern() -> None:
    """<J^T q W_O, v_j> by hand for the last block, whose output goes through the final norm alone."""
    known, model = case(NAME), case(NAME).module
    q = torch.randn(48, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    found = vd.explain(known.decomposer, known.images, q[None], method="value", components="blocks.2.attn.*")
    with torch.no_grad():
        tokens = model._pos_embed(model.patch_embed(known.images))
        for block in model.blocks[:2]:
            tokens = block(tokens)
        block, attn = model.blocks[2], model.blocks[2].attn
        value = attn.qkv(block.norm1(tokens))[..., 96:]
        out = block(tokens)[:, 0]
        pulled = q * model.norm.weight / (out.var(1, unbiased=False, keepdim=True) + model.norm.eps).sqrt()
        expected = (value @ attn.proj.weight.T @ pulled[..., None])[:, 1:, 0].unflatten(1, (4, 4))
    torch.testing.assert_close(found.grid[:, 0], expected, rtol=1e-9, atol=1e-11)
