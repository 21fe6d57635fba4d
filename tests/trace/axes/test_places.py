"""Places are those of the pixels that a token is made of: shown by changing these pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers import pictures, randomised
from timm.models import swin_transformer
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torchvision.models.swin_transformer import SwinTransformer

import vitdecomp as vd
from vitdecomp.trace.find import split_by_token
from vitdecomp.trace.paths import LinearPaths

SIZE, PATCH = 16, 4


def silenced(model: nn.Module) -> nn.Module:
    """The model with blocks that add nothing, so that no token hears of another one."""
    randomised(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if any(last in name for last in ("attn.proj.", "mlp.fc2.", "mlp.3.")):
                parameter.zero_()
    return model


def changed(paths: LinearPaths, images: Tensor, other: Tensor) -> dict[str, set[int]]:
    """For each part, the indices of the token axis at which its source differs between two images."""
    recorded = paths.recorder(torch.cat([images, other]))[1]
    found = {}
    for part in paths.parts:
        if part.tokens.cells:
            one, two = part.layout.canonical(recorded[paths.graph.leaves[part.leaf].value], 2)
            moved = (one - two).abs().amax((0, 2)) > 1e-12
            found[part.who.name] = {part.tokens.cells[part.tokens.places[k]] for k in moved.nonzero()[:, 0].tolist()}
    return found


HIERARCHIES: dict[str, tuple[Callable[[], nn.Module], int, int]] = {
    "windows": (
        lambda: swin_transformer.SwinTransformer(
            32, 2, num_classes=0, embed_dim=12, depths=(2, 2), num_heads=(2, 2), window_size=4
        ), 32, 2,
    ),
    "padded windows": (
        lambda: SwinTransformer([2, 2], 12, [2, 2], [2, 2], [7, 7], num_classes=5), 32, 2,
    ),
    "class token": (
        lambda: VisionTransformer(SIZE, PATCH, num_classes=0, embed_dim=12, depth=2, num_heads=2, global_pool="avg"),
        SIZE, PATCH,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HIERARCHIES)
def test_a_patch_changes_its_own_token_and_those_that_it_is_merged_into(name: str) -> None:
    make, size, patch = HIERARCHIES[name]
    images = pictures(1, size)
    dec = vd.Decomposer(silenced(make()), by="token", cache=None).fit(images)
    for row, column in ((0, 0), (1, 6 % (size // patch)), (size // patch - 1, 2)):
        other = images.clone()
        other[:, :, row * patch : (row + 1) * patch, column * patch : (column + 1) * patch] += 1
        found = changed(split_by_token(dec.views.paths), images, other)
        assert len(found) >= 4
        for part, indices in found.items():
            (token,) = [dec.tokens_[i] for i in indices]
            merged = size // patch // token.grid[0]
            assert (token.kind, token.row, token.column) == ("patch", row // merged, column // merged), part


class Shifted(nn.Module):
    """Attention in windows of 3 x 3 that are shifted by one and filled up, behind it nothing but a mean."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.qk, self.v = nn.Conv2d(3, 8, PATCH, PATCH), nn.Linear(8, 16), nn.Linear(8, 8)
        self.out = nn.Linear(8, 5)
        self.register_buffer("seen", torch.ones(1, 4, 4, 1))

    @staticmethod
    def windows(x: Tensor) -> Tensor:
        x = F.pad(x, (0, 0, 0, 2, 0, 2)).roll((-1, -1), (1, 2))
        return x.unflatten(2, (2, 3)).unflatten(1, (2, 3)).transpose(2, 3).flatten(3, 4).flatten(0, 2)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images).permute(0, 2, 3, 1)
        y = self.windows(x)
        q, k = self.qk(y).chunk(2, -1)
        v = self.v(y) * self.windows(self.seen.expand(len(x), -1, -1, -1))
        y = F.scaled_dot_product_attention(*(t.unflatten(-1, (2, 4)).transpose(1, 2) for t in (q, k, v)))
        y = y.transpose(1, 2).flatten(2).unflatten(0, (-1, 2, 2)).unflatten(3, (3, 3)).transpose(2, 3)
        y = y.flatten(3, 4).flatten(1, 2).roll((1, 1), (1, 2))[:, :4, :4]
        return self.out((x + y).mean((1, 2)))


def test_what_a_token_adds_is_what_is_missed_without_its_values() -> None:
    model, images = randomised(Shifted()), pictures(2, SIZE)
    dec = vd.Decomposer(model, cache=None).fit(images)
    q = torch.randn(1, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = dec.attribute(images, q, by="token")[:, 0]
    (row,) = [i for i, c in enumerate(dec.components_of("token")) if c.kind == "attn"]
    whole = model(images)
    for index, token in enumerate(dec.tokens_[:16]):
        assert (token.kind, token.row, token.column, token.grid) == ("patch", index // 4, index % 4, (4, 4))
        model.seen[:, token.row, token.column] = 0
        torch.testing.assert_close(found[:, row, index], (whole - model(images)) @ q[0], atol=1e-12, rtol=0)
        model.seen.fill_(1)


class Assembled(nn.Module):
    """Patches and tokens that are parameters, put together as a function says."""

    def __init__(self, put: Callable[[Any, Tensor], Tensor], tokens: dict[str, int]) -> None:
        super().__init__()
        self.patches, self.put = nn.Conv2d(3, 8, PATCH, PATCH), put
        for name, count in tokens.items():
            self.register_parameter(name, nn.Parameter(torch.randn(1, count, 8)))
        self.blocks = VisionTransformer(SIZE, PATCH, embed_dim=8, depth=2, num_heads=2).blocks
        self.out = nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images).flatten(2).mT
        return self.out(self.blocks(self.put(self, x)).mean(1))


def _with(*names: str) -> Callable[[Any, Tensor], Tensor]:
    def put(model: Any, x: Tensor) -> Tensor:
        return torch.cat([x if n == "x" else getattr(model, n).expand(len(x), -1, -1) for n in names], 1)

    return put


def _registers_between(model: Any, x: Tensor) -> Tensor:
    """As Hugging Face's DINOv2 does it: the class token and positions first, then registers in between."""
    x = torch.cat([model.cls_token.expand(len(x), -1, -1), x], 1) + model.pos_embed
    return torch.cat([x[:, :1], model.regs.expand(len(x), -1, -1), x[:, 1:]], 1)


def _overwritten(model: Any, x: Tensor) -> Tensor:
    x = F.pad(x, (0, 0, 1, 0))
    x[:, 0] = model.class_embedding[:, 0]
    return x


ASSEMBLED: dict[str, tuple[Callable[[Any, Tensor], Tensor], dict[str, int], list[str]]] = {
    "none": (lambda model, x: x, {}, []),
    "class": (_with("cls_token", "x"), {"cls_token": 1}, ["class"]),
    "class token last": (_with("x", "cls_token"), {"cls_token": 1}, ["class"]),
    "registers": (_with("reg", "x"), {"reg": 3}, ["class", "register", "register"]),
    "class, distillation": (_with("cls", "dist", "x"), {"cls": 1, "dist": 1}, ["class", "register"]),
    "registers behind": (
        _with("class_token", "x", "reg"), {"class_token": 1, "reg": 2}, ["class", "register", "register"]
    ),
    "registers between": (
        _registers_between, {"cls_token": 1, "regs": 2, "pos_embed": 17}, ["class", "register", "register"]
    ),
    "overwritten": (_overwritten, {"class_embedding": 1}, ["class"]),
}  # fmt: skip


@pytest.mark.parametrize("name", ASSEMBLED)
def test_constant_tokens_come_first_and_patches_behind_them(name: str) -> None:
    put, tokens, kinds = ASSEMBLED[name]
    images = pictures(2, SIZE)
    dec = vd.Decomposer(randomised(Assembled(put, tokens)), by="token", cache=None).fit(images[:1])
    patches = [vd.Token("patch", row, column, (4, 4)) for row in range(4) for column in range(4)]
    assert dec.tokens_ == (*map(vd.Token, kinds), *patches)
    other = images[:1].clone()
    other[:, :, 4:8, 8:12] += 1
    contributions = [dec.transform(x).select("embed.token.*") for x in (images[:1], other)]
    assert [c.token for c in contributions[0].components] == [*range(len(dec.tokens_))]
    moved = (contributions[0].values - contributions[1].values).abs().amax((0, 2)) > 1e-6
    assert bool(moved[len(kinds) + 6])
    assert not contributions[0].values[:, : len(kinds)].any()
