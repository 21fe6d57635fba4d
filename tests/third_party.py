"""Small vision transformers written the way people write them: einops, functional calls, odd attention.

Each entry of `MODELS` is a factory, and the heads of every attention that its decomposition must name.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange, reduce, repeat
from einops.layers.torch import Rearrange, Reduce
from torch import Tensor, nn

WIDTH, HEADS, DEPTH = 24, 3, 2


class Patches(nn.Sequential):
    """4 x 4 patches of a 16 x 16 image by einops and a linear map: 16 tokens."""

    def __init__(self) -> None:
        super().__init__(Rearrange("b c (h p) (w q) -> b (h w) (p q c)", p=4, q=4), nn.Linear(48, WIDTH))


class FeedForward(nn.Sequential):
    """Pre-norm MLP."""

    def __init__(self) -> None:
        super().__init__(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 32), nn.GELU(), nn.Dropout(0.1), nn.Linear(32, WIDTH))


class EinopsAttention(nn.Module):
    """Pre-norm attention of one chunked projection, with a given way to merge heads."""

    def __init__(self, split: str = "b n (h d) -> b h n d", merge: str = "b h n d -> b n (h d)") -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.to_qkv = nn.Linear(WIDTH, WIDTH * 3, bias=False)
        self.to_out = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Dropout(0.1))
        self.split, self.merge = split, merge

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (rearrange(t, self.split, h=HEADS) for t in self.to_qkv(self.norm(x)).chunk(3, dim=-1))
        scores = torch.matmul(q, k.transpose(-1, -2)) * (WIDTH // HEADS) ** -0.5
        out = torch.matmul(scores.softmax(dim=-1), v)
        return self.to_out(rearrange(out, self.merge, h=HEADS))


class EinopsViT(nn.Module):
    """Residual sums in the outermost forward; the attention is given."""

    def __init__(self, attention: Callable[[], nn.Module] = EinopsAttention, pool: str = "cls") -> None:
        super().__init__()
        self.to_patch_embedding = Patches()
        self.cls_token = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.pos_embedding = nn.Parameter(torch.randn(1, 17, WIDTH))
        self.layers = nn.ModuleList(nn.ModuleList([attention(), FeedForward()]) for _ in range(DEPTH))
        self.pool, self.norm = pool, nn.LayerNorm(WIDTH)

    def forward(self, images: Tensor) -> Tensor:
        x = self.to_patch_embedding(images)
        cls = repeat(self.cls_token, "() n d -> b n d", b=x.shape[0])
        x = torch.cat((cls, x), dim=1)
        x += self.pos_embedding[:, : x.shape[1]]
        for attention, feed_forward in self.layers:
            x = attention(x) + x
            x = feed_forward(x) + x
        x = x.mean(dim=1) if self.pool == "mean" else x[:, 0]
        return self.norm(x)


class EinsumAttention(EinopsAttention):
    """Scores and values by einsum."""

    def forward(self, x: Tensor) -> Tensor:
        qkv = rearrange(self.to_qkv(self.norm(x)), "b n (three h d) -> three b n h d", three=3, h=HEADS)
        scores = torch.einsum("bihd,bjhd->bhij", qkv[0], qkv[1]) / math.sqrt(WIDTH // HEADS)
        out = torch.einsum("bhij,bjhd->bihd", F.softmax(scores, dim=-1), qkv[2])
        return self.to_out(rearrange(out, "b n h d -> b n (h d)"))


class GatedAttention(EinopsAttention):
    """Output gated by a sigmoid of the input before the projection."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        q, k, v = (rearrange(t, self.split, h=HEADS) for t in self.to_qkv(y).chunk(3, dim=-1))
        out = rearrange(F.scaled_dot_product_attention(q, k, v), self.merge)
        return self.to_out(out * torch.sigmoid(self.gate(y)))


class DifferentialAttention(EinopsAttention):
    """The difference of two softmax patterns, and an RMS norm of each head."""

    def __init__(self) -> None:
        super().__init__()
        self.to_more = nn.Linear(WIDTH, WIDTH * 2)
        self.scale = nn.Parameter(torch.tensor(0.3))
        self.head_norm = nn.RMSNorm(WIDTH // HEADS)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        q, k, v = (rearrange(t, self.split, h=HEADS) for t in self.to_qkv(y).chunk(3, dim=-1))
        q2, k2 = (rearrange(t, self.split, h=HEADS) for t in self.to_more(y).chunk(2, dim=-1))
        pattern = (q @ k.mT).softmax(-1) - self.scale.exp() * (q2 @ k2.mT).softmax(-1)
        return self.to_out(rearrange(self.head_norm(pattern @ v), self.merge))


class LinearAttention(EinopsAttention):
    """elu + 1 feature maps, no softmax: q (k^T v) over a normaliser."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (rearrange(t, self.split, h=HEADS) for t in self.to_qkv(self.norm(x)).chunk(3, dim=-1))
        q, k = F.elu(q) + 1, F.elu(k) + 1
        context = torch.einsum("bhnd,bhne->bhde", k, v)
        out = torch.einsum("bhnd,bhde->bhne", q, context) / torch.einsum("bhnd,bhd->bhn", q, k.sum(-2))[..., None]
        return self.to_out(rearrange(out, self.merge))


class MultiQueryAttention(nn.Module):
    """Several queries, a single head of keys and values."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.head = nn.LayerNorm(WIDTH), WIDTH // HEADS
        self.q, self.kv = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 2 * self.head)
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        q = rearrange(self.q(y), "b n (h d) -> b h n d", h=HEADS)
        k, v = self.kv(y)[:, None].split(self.head, dim=-1)
        out = (q @ k.transpose(-2, -1) / self.head**0.5).softmax(-1) @ v
        return self.out(out.transpose(1, 2).flatten(2))


class Sequence(nn.Module):
    """torch.nn's own encoder, batch first or sequence first."""

    def __init__(self, batch_first: bool, norm_first: bool) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, 32, 0.1, "gelu", batch_first=batch_first, norm_first=norm_first
        )
        self.patches, self.batch_first = nn.Conv2d(3, WIDTH, 4, 4), batch_first
        self.encoder = nn.TransformerEncoder(layer, DEPTH, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images).flatten(2)
        x = x.permute(0, 2, 1) if self.batch_first else x.permute(2, 0, 1)
        return self.norm(self.encoder(x)).mean(1 if self.batch_first else 0)


class WindowViT(nn.Module):
    """Windows by reshape and roll, batch and windows on one axis, heads merged in front of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTH, 2, 2)
        self.blocks = nn.ModuleList(WindowBlock(shift) for shift in (0, 2))
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, images: Tensor) -> Tensor:
        x = rearrange(self.stem(images), "b c h w -> b h w c")
        for block in self.blocks:
            x = block(x)
        return reduce(self.norm(x), "b h w c -> b c", "mean")


class WindowBlock(nn.Module):
    """Shifted window attention with heads in front of windows: (h b n) n d."""

    def __init__(self, shift: int) -> None:
        super().__init__()
        self.norm, self.qkv, self.proj = (
            nn.LayerNorm(WIDTH),
            nn.Linear(WIDTH, 3 * WIDTH),
            nn.Linear(WIDTH, WIDTH),
        )
        self.mlp, self.shift = FeedForward(), shift

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x).roll((-self.shift, -self.shift), (1, 2))
        y = rearrange(y, "b (i p) (j q) c -> (b i j) (p q) c", p=4, q=4)
        q, k, v = (torch.cat(t.split(WIDTH // HEADS, 2), 0) for t in self.qkv(y).chunk(3, -1))
        out = torch.bmm(torch.softmax(torch.bmm(q, k.transpose(1, 2)), -1), v)
        out = self.proj(torch.cat(out.chunk(HEADS, 0), 2))
        out = rearrange(out, "(b i j) (p q) c -> b (i p) (j q) c", i=2, j=2, p=4, q=4)
        x = x + out.roll((self.shift, self.shift), (1, 2))
        return x + self.mlp(x)


class Perceiver(nn.Module):
    """Learned latents read the patches, then attend to themselves; the mean latent goes through a tanh head."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.latents = Patches(), nn.Parameter(torch.randn(5, WIDTH))
        self.read = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.blocks = nn.ModuleList(
            nn.Sequential(Residual(EinopsAttention()), Residual(FeedForward())) for _ in range(2)
        )
        self.head = nn.Sequential(Reduce("b n d -> b d", "mean"), nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 10), nn.Tanh())

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images)
        latents = self.latents.expand(len(images), -1, -1)
        x = latents + self.read(latents, tokens, tokens, need_weights=False)[0]
        for block in self.blocks:
            x = block(x)
        return self.head(x)


class Residual(nn.Module):
    """fn(x) + x."""

    def __init__(self, fn: nn.Module) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, x: Tensor) -> Tensor:
        return self.fn(x) + x


class AttentionPooled(EinopsViT):
    """Tokens weighted by a softmax of one score each, the weighted sum unit-normed."""

    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Linear(WIDTH, 1)

    def forward(self, images: Tensor) -> Tensor:
        x = self.to_patch_embedding(images)
        for attention, feed_forward in self.layers:
            x = attention(x) + x
            x = feed_forward(x) + x
        x = self.norm(x)
        pooled = torch.einsum("bn,bnd->bd", self.score(x).squeeze(-1).softmax(-1), x)
        return F.normalize(pooled, dim=-1)


class ParallelViT(nn.Module):
    """Attention and gated MLP side by side, hand-written norms, registers, a max pool at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.registers = nn.Conv2d(3, WIDTH, 4, 4), nn.Parameter(torch.randn(2, WIDTH))
        self.blocks = nn.ModuleList(ParallelBlock() for _ in range(DEPTH))

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(2 * (images - 0.5)).flatten(2).mT
        x = torch.cat([self.registers.expand(len(x), 2, WIDTH), x], 1)
        for block in self.blocks:
            x = block(x)
        return x[:, 2:].amax(1)


class ParallelBlock(nn.Module):
    """x + attention(norm x) + gated(norm x)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDTH))
        self.qkv, self.up = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, 64)
        self.attn_out, self.down = nn.Linear(WIDTH, WIDTH, bias=False), nn.Linear(32, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        y = (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, keepdim=True, unbiased=False) + 1e-6) * self.weight
        b, n, _ = y.shape
        q, k, v = self.qkv(y).view(b, n, HEADS, 3, -1).permute(3, 0, 2, 1, 4)
        attention = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, WIDTH)
        value, gate = self.up(y).chunk(2, -1)
        return x + self.attn_out(attention) + self.down(value * F.silu(gate))


Heads = dict[str, int]
SAME: Heads = {"layers.0.0": HEADS, "layers.1.0": HEADS}

MODELS: dict[str, tuple[Callable[[], nn.Module], Heads]] = {
    "einops_cls": (EinopsViT, SAME),
    "einops_mean": (lambda: EinopsViT(pool="mean"), SAME),
    "head_minor": (
        lambda: EinopsViT(lambda: EinopsAttention("b n (d h) -> b h n d", "b h n d -> b n (d h)")), SAME
    ),
    "batch_heads": (
        lambda: EinopsViT(lambda: EinopsAttention("b n (h d) -> (b h) n d", "(b h) n d -> b n (h d)")), SAME
    ),
    "heads_batch": (
        lambda: EinopsViT(lambda: EinopsAttention("b n (h d) -> (h b) n d", "(h b) n d -> b n (h d)")), SAME
    ),
    "einsum": (lambda: EinopsViT(EinsumAttention), SAME),
    "gated": (lambda: EinopsViT(GatedAttention, "mean"), SAME),
    "differential": (lambda: EinopsViT(DifferentialAttention), SAME),
    "linear_attention": (lambda: EinopsViT(LinearAttention, "mean"), SAME),
    "multi_query": (lambda: EinopsViT(MultiQueryAttention), SAME),
    "encoder_batch_first": (
        lambda: Sequence(True, True), {"encoder.layers.0.self_attn": HEADS, "encoder.layers.1.self_attn": HEADS}
    ),
    "encoder_sequence_first": (
        lambda: Sequence(False, False), {"encoder.layers.0.self_attn": HEADS, "encoder.layers.1.self_attn": HEADS}
    ),
    "windows": (WindowViT, {"blocks.0.attn": HEADS, "blocks.1.attn": HEADS}),
    "perceiver": (Perceiver, {"read": HEADS, "blocks.0.0.fn": HEADS, "blocks.1.0.fn": HEADS}),
    "attention_pooled": (AttentionPooled, SAME),
    "parallel": (ParallelViT, {"blocks.0.attn": HEADS, "blocks.1.attn": HEADS}),
}  # fmt: skip
