"""A small vision transformer, with the non-linearity of its MLPs written in many ways.

`WAYS` maps an activation to functions that compute the same: library call, module, formula, other formula, in parts.
Where an activation halves the width (gates, max-out), the first projection is twice as wide.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH, HIDDEN, HEADS = 12, 10, 2
Function = Callable[[Tensor], Tensor]


class Quick(nn.Module):
    """A module of its own for x sigmoid(1.702 x)."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


def _chunked(combine: Callable[[Tensor, Tensor], Tensor]) -> Function:
    def function(x: Tensor) -> Tensor:
        value, gate = x.chunk(2, -1)
        return combine(value, gate)

    return function


def _sliced(combine: Callable[[Tensor, Tensor], Tensor]) -> Function:
    return lambda x: combine(x[..., :HIDDEN], x[..., HIDDEN:])


def _cube_tanh(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def _cube_tanh_in_parts(x: Tensor) -> Tensor:
    half = x / 2
    return half + half * torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x.pow(3)))


def _soft(x: Tensor) -> Tensor:
    return torch.log1p(torch.exp(-x.abs())) + x.clamp(min=0)


SINGLE: dict[str, tuple[Function, ...]] = {
    "gelu": (
        F.gelu, nn.GELU(), lambda x: x * 0.5 * (1 + torch.erf(x / math.sqrt(2))),
        lambda x: 0.5 * (1 + torch.special.erf(x / math.sqrt(2))) * x,
        lambda x: x / 2 + x * torch.erf(x * 0.5**0.5) / 2, lambda x: x * torch.special.ndtr(x),
        lambda x: x - x * 0.5 * torch.erfc(x / math.sqrt(2)),
    ),
    "tanh_gelu": (
        lambda x: F.gelu(x, approximate="tanh"), nn.GELU("tanh"), _cube_tanh, _cube_tanh_in_parts,
        lambda x: x * torch.sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)),
    ),
    "quick_gelu": (
        lambda x: x * torch.sigmoid(1.702 * x), Quick(), lambda x: torch.sigmoid(x * 1.702).mul(x),
        lambda x: x / (1 + torch.exp(-1.702 * x)), lambda x: F.silu(1.702 * x) / 1.702,
    ),
    "silu": (
        F.silu, nn.SiLU(), lambda x: x * x.sigmoid(), lambda x: x / (1 + (-x).exp()),
        lambda x: x * (torch.tanh(x / 2) + 1) / 2, lambda x: F.glu(torch.cat([x, x], -1), -1),
    ),
    "relu": (
        F.relu, nn.ReLU(), lambda x: x.clamp(min=0), lambda x: torch.maximum(x, torch.zeros_like(x)),
        lambda x: torch.where(x > 0, x, 0.0), lambda x: (x + x.abs()) / 2, lambda x: x * (x > 0),
        lambda x: x.masked_fill(x < 0, 0), lambda x: torch.clamp_min(x, 0), lambda x: F.threshold(x, 0, 0),
        lambda x: torch.stack([x, torch.zeros_like(x)]).amax(0), lambda x: x - x.clamp(max=0),
    ),
    "squared_relu": (
        lambda x: F.relu(x) ** 2, lambda x: F.relu(x).square(), lambda x: F.relu(x) * F.relu(x),
        lambda x: x * F.relu(x), lambda x: torch.where(x > 0, x * x, 0.0),
    ),
    "leaky_relu": (
        lambda x: F.leaky_relu(x, 0.1), nn.LeakyReLU(0.1), lambda x: torch.maximum(x, 0.1 * x),
        lambda x: F.relu(x) - 0.1 * F.relu(-x), lambda x: torch.where(x > 0, x, 0.1 * x),
        lambda x: x.clamp(min=0) + 0.1 * x.clamp(max=0),
    ),
    "elu": (
        F.elu, nn.ELU(), lambda x: torch.where(x > 0, x, x.exp() - 1),
        lambda x: F.relu(x) + torch.expm1(x.clamp(max=0)), lambda x: torch.where(x > 0, x, torch.expm1(x)),
    ),
    "hard_swish": (
        F.hardswish, nn.Hardswish(), lambda x: x * F.relu6(x + 3) / 6,
        lambda x: x * (x + 3).clamp(0, 6) / 6, lambda x: x * F.hardsigmoid(x),
    ),
    "softplus": (
        F.softplus, nn.Softplus(), lambda x: torch.log(1 + torch.exp(x)), lambda x: torch.log1p(x.exp()), _soft,
    ),
    "mish": (
        F.mish, nn.Mish(), lambda x: x * torch.tanh(F.softplus(x)), lambda x: x * torch.log1p(x.exp()).tanh(),
        lambda x: x - 2 * x / ((1 + x.exp()) ** 2 + 1),
    ),
    "hard_tanh": (
        F.hardtanh, nn.Hardtanh(), lambda x: x.clamp(-1, 1), lambda x: x.clamp(max=1).clamp(min=-1),
        lambda x: ((x + 1).abs() - (x - 1).abs()) / 2,
    ),
    "tanh": (
        F.tanh, nn.Tanh(), lambda x: 2 * torch.sigmoid(2 * x) - 1,
        lambda x: (1 - torch.exp(-2 * x)) / (1 + torch.exp(-2 * x)), lambda x: torch.sinh(x) / torch.cosh(x),
    ),
}  # fmt: skip
DOUBLE: dict[str, tuple[Function, ...]] = {
    "glu": (
        lambda x: F.glu(x, -1), nn.GLU(), _chunked(lambda a, b: a * b.sigmoid()),
        _sliced(lambda a, b: torch.sigmoid(b) * a), _chunked(lambda a, b: a / (1 + torch.exp(-b))),
    ),
    "swiglu": (
        _chunked(lambda a, b: a * F.silu(b)), _chunked(lambda a, b: F.silu(b) * a),
        _sliced(lambda a, b: a * (b * b.sigmoid())), _sliced(lambda a, b: a * b * b.sigmoid()),
        _chunked(lambda a, b: a * b / (1 + torch.exp(-b))),
    ),
    "geglu": (
        _chunked(lambda a, b: a * F.gelu(b)), _chunked(lambda a, b: F.gelu(b) * a),
        _sliced(lambda a, b: a * (0.5 * b * (1 + torch.erf(b / math.sqrt(2))))),
        _sliced(lambda a, b: a * b * torch.special.ndtr(b)),
        _chunked(lambda a, b: a * b / 2 + a * b * torch.erf(b * 0.5**0.5) / 2),
    ),
    "bilinear": (
        _chunked(lambda a, b: a * b), _sliced(lambda a, b: b.mul(a)),
        _chunked(lambda a, b: ((a + b) ** 2 - (a - b) ** 2) / 4),
        _chunked(lambda a, b: torch.einsum("btc,btc->btc", a, b)), lambda x: x.unflatten(-1, (2, -1)).prod(-2),
    ),
    "star": (
        _chunked(lambda a, b: F.relu6(a) * b), _sliced(lambda a, b: b * F.relu6(a)),
        _chunked(lambda a, b: a.clamp(0, 6) * b), _chunked(lambda a, b: F.hardtanh(a, 0, 6) * b),
        _sliced(lambda a, b: b * F.relu(a).clamp(max=6)),
    ),
    "max_out": (
        _chunked(torch.maximum), _sliced(lambda a, b: a + F.relu(b - a)), lambda x: x.unflatten(-1, (2, -1)).amax(-2),
        lambda x: x.unflatten(-1, (2, -1)).max(-2).values, _chunked(lambda a, b: torch.where(a > b, a, b)),
        _chunked(lambda a, b: torch.stack([a, b]).amax(0)), _chunked(lambda a, b: (a + b + (a - b).abs()) / 2),
    ),
}  # fmt: skip
WAYS = {**SINGLE, **DOUBLE}


class Mlp(nn.Module):
    """Projection, non-linearity, projection."""

    def __init__(self, function: Function, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(WIDTH, hidden), function, nn.Linear(HIDDEN, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class Attention(nn.Module):
    """Self-attention, perhaps with queries that are made elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor, asked: Tensor | None = None) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        if asked is not None:
            q = asked.unflatten(-1, (HEADS, -1)).transpose(1, 2)
        return self.proj(self.attend(q, k, v).transpose(1, 2).flatten(2))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """The pattern times the values."""
        return F.scaled_dot_product_attention(q, k, v)


class Asking(nn.Module):
    """Attention whose queries come out of an MLP, that acts on nothing else."""

    def __init__(self, mlp: nn.Module) -> None:
        super().__init__()
        self.attend, self.ask = Attention(), mlp

    def forward(self, x: Tensor) -> Tensor:
        return self.attend(x, self.ask(x))


class Block(nn.Module):
    """Pre-norm attention and MLP."""

    def __init__(self, attention: nn.Module, mlp: nn.Module) -> None:
        super().__init__()
        self.norm1, self.attn, self.norm2, self.mlp = nn.LayerNorm(WIDTH), attention, nn.LayerNorm(WIDTH), mlp

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    """Four patches of an 8 x 8 image, blocks, a norm, and the mean token unless another pooling is given."""

    def __init__(self, *blocks: nn.Module, pool: nn.Module | None = None) -> None:
        super().__init__()
        self.patches, self.blocks = nn.Conv2d(3, WIDTH, 4, 4), nn.Sequential(*blocks)
        self.norm, self.pool = nn.LayerNorm(WIDTH), pool

    def tokens(self, images: Tensor) -> Tensor:
        """What goes into the pooling."""
        return self.norm(self.blocks(self.patches(images).flatten(2).mT))

    def forward(self, images: Tensor) -> Tensor:
        x = self.tokens(images)
        return x.mean(1) if self.pool is None else self.pool(x)


def plain(function: Function = F.gelu, hidden: int = HIDDEN) -> Block:
    """A block of the usual kind."""
    return Block(Attention(), Mlp(function, hidden))


def hidden(kind: str) -> int:
    """Width in front of an activation."""
    return HIDDEN if kind in SINGLE else 2 * HIDDEN
