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


def test_class_attention_is_a_layer_of_legrad() -> None:
    """CaiT: mean of the patches and of the class token as it is at that depth; the pattern is the class token's row."""
    known, model = case("cait"), case("cait").module
    q = torch.randn(48, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    patches = (model.patch_embed(known.images) + model.pos_embed).detach()
    for block in model.blocks:
        patches = block(patches).detach()
    cls, expected = model.cls_token.expand(4, -1, -1), []
    for block in model.blocks_token_only:
        attn, x = block.attn, block.norm1(torch.cat([cls, patches], 1))
        a, b, v = (f(x).unflatten(2, (4, -1)).transpose(1, 2).detach() for f in (attn.q, attn.k, attn.v))
        pattern = (a[:, :, :1] @ b.mT * attn.scale).softmax(-1).requires_grad_()
        out = cls + block.gamma_1 * attn.proj((pattern @ v).transpose(1, 2).flatten(2))
        out = out + block.gamma_2 * block.mlp(block.norm2(out))
        mean = model.norm(torch.cat([out, patches], 1).mean(1))
        (gradient,) = torch.autograd.grad(torch.cosine_similarity(mean, q, dim=1).sum(), pattern)
        expected.append(gradient.clamp_min(0)[:, :, 0, 1:].mean(1).unflatten(1, (4, 4)))
        cls = out.detach()
    found = vd.explain(known.decomposer, known.images, q[None], method="legrad").layers
    assert found is not None
    assert found.names[-2:] == ("blocks_token_only.0", "blocks_token_only.1")
    torch.testing.assert_close(found.values[:, 0, -2:], torch.stack(expected, 1), rtol=1e-9, atol=1e-14)


def test_patches_of_a_model_with_class_attention_are_pooled_with_its_token() -> None:
    """CaiT: behind its last block of patches, these and the class token's parameter are averaged."""
    known, model = case("cait"), case("cait").module
    q = torch.randn(48, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    patches = (model.patch_embed(known.images) + model.pos_embed).detach()
    for block in model.blocks[:2]:
        patches = block(patches).detach()
    block, attn = model.blocks[2], model.blocks[2].attn
    a, b, v = attn.qkv(block.norm1(patches)).unflatten(2, (3, 4, -1)).permute(2, 0, 3, 1, 4).detach()
    logits = attn.proj_l((a * attn.scale @ b.mT).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    pattern = attn.proj_w(logits.softmax(-1).permute(0, 2, 3, 1)).permute(0, 3, 1, 2).detach().requires_grad_()
    patches = patches + block.gamma_1 * attn.proj((pattern @ v).transpose(1, 2).flatten(2))
    patches = patches + block.gamma_2 * block.mlp(block.norm2(patches))
    mean = model.norm(torch.cat([model.cls_token.expand(4, -1, -1), patches], 1).mean(1))
    (gradient,) = torch.autograd.grad(torch.cosine_similarity(mean, q, dim=1).sum(), pattern)
    expected = gradient.clamp_min(0).mean((1, 2)).unflatten(1, (4, 4))
    found = vd.explain(known.decomposer, known.images, q[None], method="legrad").layers
    assert found is not None
    torch.testing.assert_close(found.values[:, 0, 2], expected, rtol=1e-9, atol=1e-14)
