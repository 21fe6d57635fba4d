"""Models as third parties write them: no operation on their paths lacks a rule, and the leaves sum to the output."""

from __future__ import annotations

from collections.abc import Callable

import einops
import pytest
import torch
import torch.nn.functional as F
from einops.layers.torch import Rearrange
from torch import Tensor, nn

import vitdecomp
from tests.trace.rules.contract import error_of_sum
from vitdecomp.trace.capture import capture
from vitdecomp.trace.walk import walk

WIDTH, HEADS = 12, 3


class Block(nn.Module):
    """Pre-norm residual block around something that mixes tokens `(b, n, d)`."""

    def __init__(self, mixer: nn.Module) -> None:
        super().__init__()
        self.norm1, self.mixer, self.norm2 = nn.LayerNorm(WIDTH), mixer, nn.LayerNorm(WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 16), nn.GELU(), nn.Linear(16, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mixer(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Net(nn.Module):
    """Patches, a block, the mean of the tokens."""

    def __init__(self, mixer: nn.Module, stem: nn.Module | None = None, head: nn.Module | None = None) -> None:
        super().__init__()
        patches = nn.Sequential(nn.Conv2d(3, WIDTH, 4, 4), Rearrange("b c h w -> b (h w) c"))
        self.stem, self.block = stem or patches, Block(mixer)
        self.head = head or nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        x = self.head(self.block(self.stem(images)))
        return x if x.ndim == 2 else x.mean(1)


class Packed(nn.Module):
    """Class token and registers packed with the tokens, and unpacked again."""

    def __init__(self) -> None:
        super().__init__()
        self.cls, self.registers = nn.Parameter(torch.randn(WIDTH)), nn.Parameter(torch.randn(2, WIDTH))
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        cls = einops.repeat(self.cls, "d -> b d", b=x.shape[0])
        registers = einops.repeat(self.registers, "r d -> b r d", b=x.shape[0])
        x, shapes = einops.pack([cls, registers, x], "b * d")
        q, k, v = einops.rearrange(self.qkv(x), "b n (t h d) -> t b h n d", t=3, h=HEADS)
        pattern = einops.einsum(q, k, "b h i d, b h j d -> b h i j").softmax(-1)
        y = einops.einsum(pattern, v, "b h i j, b h j d -> b i h d")
        y = self.out(einops.rearrange(y, "... h d -> ... (h d)"))
        cls, registers, y = einops.unpack(y, shapes, "b * d")
        return y + cls[:, None] + einops.reduce(registers, "b r d -> b 1 d", "max")


class Functional(nn.Module):
    """F.multi_head_attention_forward, sequence first, with a mask and a bias key."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(3 * WIDTH, WIDTH)), nn.Parameter(torch.randn(3 * WIDTH))
        self.bias_k, self.bias_v = nn.Parameter(torch.randn(1, 1, WIDTH)), nn.Parameter(torch.randn(1, 1, WIDTH))
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(0, 1)
        mask = torch.ones(len(x), len(x), dtype=torch.bool).triu(1)
        y, _ = F.multi_head_attention_forward(
            x, x, x, WIDTH, HEADS, self.weight, self.bias, self.bias_k, self.bias_v, True, 0.0, self.out.weight,
            self.out.bias, training=False, attn_mask=mask, need_weights=True,
        )  # fmt: skip
        return y.transpose(0, 1)


class TransposeForScores(nn.Module):
    """Hugging Face's way to split heads, with its permutes and views, and a relative position bias by index."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.dense, self.table = nn.Linear(WIDTH, WIDTH), nn.Parameter(torch.randn(31, HEADS))
        places = torch.arange(16)
        self.register_buffer("index", places[:, None] - places[None] + 15, persistent=False)

    def split(self, x: Tensor) -> Tensor:
        return x.view(*x.size()[:-1], HEADS, WIDTH // HEADS).permute(0, 2, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        scores = torch.matmul(q, k.transpose(-1, -2)) / (WIDTH // HEADS) ** 0.5
        scores = scores + self.table[self.index.view(-1)].view(16, 16, -1).permute(2, 0, 1).contiguous().unsqueeze(0)
        context = torch.matmul(F.dropout(F.softmax(scores, dim=-1), 0.1, self.training), v)
        context = context.permute(0, 2, 1, 3).contiguous()
        return self.dense(context.view(*context.size()[:-2], WIDTH))


class Einsums(nn.Module):
    """Weights with an axis for every head, heads merged by the output projection itself."""

    def __init__(self, project: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        width = WIDTH // HEADS
        self.qkv, self.out = (
            nn.Parameter(torch.randn(3, WIDTH, HEADS, width)),
            nn.Parameter(torch.randn(HEADS, width, WIDTH)),
        )
        self.project = project

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = torch.einsum("bnd,tdhe->tbnhe", x, self.qkv)
        pattern = torch.einsum("bnhe,bmhe->bhnm", q, k).softmax(-1)
        return self.project(torch.einsum("bhnm,bmhe->bnhe", pattern, v), self.out)


class Spectral(nn.Module):
    """GFNet's global filter."""

    def __init__(self) -> None:
        super().__init__()
        self.filter, self.project = nn.Parameter(torch.randn(4, 3, WIDTH, 2)), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.project(x)).view(-1, 4, 4, WIDTH)
        z = torch.fft.rfft2(x, dim=(1, 2), norm="ortho") * torch.view_as_complex(self.filter)
        return torch.fft.irfft2(z, s=(4, 4), dim=(1, 2), norm="ortho").flatten(1, 2)


class Fourier(nn.Module):
    """FNet's mixing, and AFNO's real and imaginary parts."""

    def forward(self, x: Tensor) -> Tensor:
        z = torch.view_as_real(torch.fft.fft(torch.fft.fft(x, dim=-1), dim=1))
        shrunk = torch.view_as_complex(F.softshrink(z, 0.01).contiguous())
        return z[..., 0] + torch.fft.ifft2(shrunk).imag


class Pyramid(nn.Module):
    """Pooling at several scales, resized and concatenated, with squeeze and excitation as it was first written."""

    def __init__(self) -> None:
        super().__init__()
        self.fuse, self.squeeze = nn.Conv2d(5 * WIDTH, WIDTH, 1), nn.Linear(WIDTH, WIDTH)
        self.norm = nn.InstanceNorm2d(5 * WIDTH, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2).unflatten(2, (4, 4))
        x = x * torch.sigmoid(self.squeeze(x.mean((2, 3))))[..., None, None].expand_as(x)
        scales = [
            F.interpolate(F.adaptive_avg_pool2d(x, 2), scale_factor=2, mode="bilinear", align_corners=True),
            F.interpolate(F.max_pool2d(x, 2, 2), size=(4, 4), mode="nearest-exact"),
            F.interpolate(F.avg_pool2d(x, 3, 2, 1, ceil_mode=True), size=x.shape[2:], mode="bicubic"),
            F.interpolate(
                F.pad(x, (1, 1, 1, 1), mode="reflect")[:, :, ::2, ::2], (4, 4), mode="bilinear", antialias=True
            ),
        ]
        return self.fuse(self.norm(torch.cat([x, *scales], 1)).clamp(min=0)).flatten(2).mT


class Merged(nn.Module):
    """Token merging: half of the tokens, chosen by the image, averaged into their nearest others."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        n, _, d = x.shape
        unit = x / x.norm(dim=-1, keepdim=True)
        a, b = unit[..., ::2, :], unit[..., 1::2, :]
        nearest, best = (a @ b.transpose(-1, -2)).max(dim=-1)
        order = nearest.argsort(dim=-1, descending=True)[..., None]
        merged, kept = order[..., :4, :], order[..., 4:, :]
        source, target = x[..., ::2, :], x[..., 1::2, :]
        goal = best[..., None].gather(dim=-2, index=merged)
        moved = source.gather(dim=-2, index=merged.expand(n, 4, d))
        target = target.scatter_reduce(-2, goal.expand(n, 4, d), moved, reduce="mean")
        whole = torch.cat([source.gather(dim=-2, index=kept.expand(n, 4, d)), target], dim=1)
        return F.pad(self.out(whole), (0, 0, 0, 4), value=0.5)


class InPlace(nn.Module):
    """Slices written in place, masks filled, a loop over heads, blocks of tokens swapped."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(WIDTH, WIDTH // HEADS) for _ in range(HEADS))
        self.token = nn.Parameter(torch.randn(WIDTH))
        self.register_buffer("hidden", torch.arange(16) % 3 == 0)

    def forward(self, x: Tensor) -> Tensor:
        out = torch.zeros_like(x)
        for i, head in enumerate(self.heads):
            out[..., i * 4 : (i + 1) * 4] += torch.tanh(head(x))
        out[:, 0] = self.token
        out[:, 2:6, 1::2] *= 2.0
        out = torch.where(self.hidden[:, None], self.token, out).masked_fill(self.hidden[None, :, None].roll(1), -1.0)
        first, *rest = out.tensor_split(4, dim=1)
        return torch.hstack([*rest, first]).flip(1)[:, torch.tensor([3, 1, 2, 0] * 4)] + out.cumsum(1) / 16


class Overlap(nn.Module):
    """Overlapping windows unfolded and folded, tokens to tokens, an outlook with channel shuffles."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = F.channel_shuffle(torch.relu(self.out(x)).mT.unflatten(2, (4, 4)), 3)
        windows = F.unfold(x, 3, padding=1, stride=1)
        whole = F.fold(windows, (4, 4), 3, padding=1) / 9
        strips = x.unfold(2, 2, 2).unfold(3, 2, 2).amax((-1, -2))
        return whole.flatten(2).mT + F.pixel_unshuffle(strips, 2).mean((1, 2, 3))[:, None, None] + x.flatten(2).mT


class Pooled(nn.Module):
    """Top tokens, a percentile and a frozen selection instead of a mean."""

    def forward(self, x: Tensor) -> Tensor:
        return x.topk(3, dim=1).values.mean(1) + x.median(1).values + x.amax((1,)) - x.sort(1).values[:, 2]


class Unit(nn.Module):
    """The mean token without class, unit-normed, with what is not a number put right."""

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x[:, -15:].nan_to_num().clamp(-50, 50).mean(dim=-2), dim=-1)


def encoder(*, batch_first: bool, norm_first: bool) -> nn.Module:
    layer = nn.TransformerEncoderLayer(
        WIDTH, HEADS, 16, activation="gelu", batch_first=batch_first, norm_first=norm_first
    )
    stack = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    if batch_first:
        return stack
    return nn.Sequential(Rearrange("b n d -> n b d"), stack, Rearrange("n b d -> b n d"))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "packed": lambda: Net(Packed()),
    "functional": lambda: Net(Functional()),
    "hugging_face": lambda: Net(TransposeForScores()),
    "einsum": lambda: Net(Einsums(lambda x, w: torch.einsum("bnhe,heo->bno", x, w))),
    "tensordot": lambda: Net(Einsums(lambda x, w: torch.tensordot(x, w, dims=2))),
    "global_filter": lambda: Net(Spectral(), head=Unit()),
    "fourier": lambda: Net(Fourier()),
    "pyramid": lambda: Net(Pyramid()),
    "token_merging": lambda: Net(Merged()),
    "in_place": lambda: Net(InPlace()),
    "overlap": lambda: Net(Overlap(), head=Pooled()),
    "encoder": lambda: Net(encoder(batch_first=True, norm_first=False)),
    "encoder_sequence_first": lambda: Net(encoder(batch_first=False, norm_first=True)),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_operation_has_a_rule_and_the_leaves_sum_to_the_output(name: str) -> None:
    torch.manual_seed(0)
    model = MODELS[name]().double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    images = torch.randn(3, 3, 16, 16, dtype=torch.float64)
    captured = capture(model, images)
    assert captured.batch is None
    graph = walk(captured)
    for n in (3, 5):
        assert error_of_sum(captured, graph, torch.randn(n, 3, 16, 16, dtype=torch.float64)) < 1e-12


@pytest.mark.parametrize("name", ["einsum", "tensordot", "functional", "packed"])
def test_heads_are_found_whatever_merges_them(name: str) -> None:
    torch.manual_seed(0)
    decomposer = vitdecomp.Decomposer(MODELS[name]().double().eval())
    decomposer.fit(torch.randn(2, 3, 16, 16, dtype=torch.float64))
    assert list(decomposer.report_.heads.values()) == [HEADS]
