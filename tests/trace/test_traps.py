"""Eight traps seen in real models, each on a model as small as it can be."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from helpers import pictures, randomised
from third_party import HEADS, WIDTH, EinopsAttention, EinopsViT, FeedForward, Patches, Residual
from torch import Tensor, nn

import vitdecomp as vd


def decomposed(module: nn.Module) -> tuple[vd.Contributions, vd.Decomposer]:
    images = pictures(3, 16)
    decomposer = vd.Decomposer(randomised(module)).fit(images[:1])
    contributions = decomposer.transform(images)
    assert torch.allclose(contributions.total(), module(images).detach(), atol=1e-11)
    return contributions, decomposer


def names(contributions: vd.Contributions) -> set[str]:
    return {c.name for c in contributions.components if not c.is_constant}


class Stages(nn.Module):
    """A stem with two activations, two residual stages with an activation between them, an activation at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, WIDTH, 3, 2, 1), nn.ReLU())
        self.one, self.two = Residual(FeedForward()), Residual(EinopsAttention())
        self.between = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU())
        self.head = nn.Sequential(nn.Linear(WIDTH, 10), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        x = self.one(self.stem(x).flatten(2).mT)
        x = self.two(self.between(x))
        return self.head(x.mean(1))


class TestTrivialSums:
    def test_trunk_activations_are_opened_and_the_stem_is_not(self) -> None:
        contributions, decomposer = decomposed(Stages())
        assert [g.module for g in decomposer.report_.opened] == ["between.1", "head.1"]
        heads = {f"two.fn.head.{h}" for h in range(HEADS)}
        assert names(contributions) == {"embed", "one.fn", *heads}
        assert decomposer.report_.covered

    def test_a_plain_convolutional_net_stays_as_short_as_it_is(self) -> None:
        net = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        contributions, decomposer = decomposed(net)
        assert len(names(contributions)) == 1
        assert not decomposer.report_.opened

    def test_an_mlp_on_the_pooled_vector_is_no_trunk_when_there_is_a_way_around(self) -> None:
        class Head(EinopsViT):
            def __init__(self) -> None:
                super().__init__(pool="mean")
                self.mlp = FeedForward()

            def forward(self, x: Tensor) -> Tensor:
                y = super().forward(x)
                return y + self.mlp(y)

        contributions, decomposer = decomposed(Head())
        assert "mlp" in names(contributions)
        assert not decomposer.report_.opened


class TestReachableIsNotContributing:
    def test_what_a_selection_cuts_off_is_no_component(self) -> None:
        class Late(nn.Module):
            """The patches' own MLP never reaches the class token behind it."""

            def __init__(self) -> None:
                super().__init__()
                self.patches, self.token = Patches(), nn.Parameter(torch.randn(1, 1, WIDTH))
                self.attention, self.dead, self.alive = Residual(EinopsAttention()), FeedForward(), FeedForward()

            def forward(self, x: Tensor) -> Tensor:
                x = self.patches(x)
                x = self.attention(torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1))
                cls, rest = x[:, :1], x[:, 1:]
                x = torch.cat([cls + self.alive(cls), rest + self.dead(rest)], 1)
                return x[:, 0]

        contributions, decomposer = decomposed(Late())
        assert "alive" in names(contributions)
        assert not names(contributions) & {"dead", "embed"}
        assert [s.name for s in decomposer.report_.missing] == ["dead"]
        assert "does not reach" in decomposer.report_.missing[0].why


class TestCuts:
    def test_two_branches_with_an_activation_each(self) -> None:
        class Branches(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.patches = nn.ModuleList([Patches(), Patches()])
                self.blocks = nn.ModuleList([Residual(EinopsAttention()), Residual(EinopsAttention())])
                self.heads = nn.ModuleList(
                    nn.Sequential(nn.LayerNorm(WIDTH), nn.GELU(), nn.Linear(WIDTH, 7)) for _ in "ab"
                )

            def forward(self, x: Tensor) -> Tensor:
                both = zip(self.patches, self.blocks, self.heads, strict=True)
                a, b = (head(block(patches(x)).mean(1)) for patches, block, head in both)
                return a + b

        _, decomposer = decomposed(Branches())
        assert [g.module for g in decomposer.report_.opened] == ["heads.0.1", "heads.1.1"]
        assert decomposer.report_.heads == {"blocks.0.fn": HEADS, "blocks.1.fn": HEADS}


class TestConstants:
    def test_scalars_fills_means_and_clamps_are_terms(self) -> None:
        class Constants(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.norm, self.conv = nn.BatchNorm2d(3), nn.Conv2d(3, 5, 3)

            def forward(self, x: Tensor) -> Tensor:
                x = F.pad(2 * (x - 0.5), (1, 1, 1, 1), value=0.7)
                x = self.conv(self.norm(x)).clamp(-1, 1)
                return x.masked_fill(x[:1, :1] > 0.5, 3.0).mean((2, 3)) + 128

        contributions, _ = decomposed(Constants())
        constants = {c.name for c in contributions.components if c.is_constant}
        assert {"const.norm.running_mean", "bias.norm", "bias.conv", "const.padding", "const.saturated"} <= constants
        assert names(contributions) == {"embed"}


class TestProducts:
    def test_the_smaller_operand_is_the_gate(self) -> None:
        class Excited(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.conv, self.reduce, self.expand = nn.Conv2d(3, 8, 3), nn.Linear(8, 2), nn.Linear(2, 8)

            def forward(self, x: Tensor) -> Tensor:
                x = self.conv(x)
                gate = torch.sigmoid(self.expand(F.relu(self.reduce(x.mean((2, 3))))))
                return (x * gate[..., None, None]).mean((2, 3))

        contributions, decomposer = decomposed(Excited())
        assert names(contributions) == {"embed"}
        assert decomposer.report_.covered  # the gate's own little MLP is no block of the model

    def test_equal_operands_are_a_source(self) -> None:
        class Star(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.patches, self.a, self.b = Patches(), nn.Linear(WIDTH, 32), nn.Linear(WIDTH, 32)
                self.out = nn.Linear(32, WIDTH)

            def forward(self, x: Tensor) -> Tensor:
                x = self.patches(x)
                return (x + self.out(self.a(x) * self.b(x))).mean(1)

        contributions, _ = decomposed(Star())
        assert len(names(contributions)) == 2
        assert "embed" in names(contributions)


class TestActivatedAttention:
    @pytest.mark.parametrize("activation", [nn.Hardswish(), nn.ReLU(), nn.GELU()])
    def test_heads_behind_an_activation(self, activation: nn.Module) -> None:
        class Activated(EinopsAttention):
            def __init__(self) -> None:
                super().__init__()
                self.to_out = nn.Sequential(activation, nn.Linear(WIDTH, WIDTH))

        contributions, decomposer = decomposed(EinopsViT(Activated))
        assert decomposer.report_.heads == {"layers.0.0": HEADS, "layers.1.0": HEADS}
        module = decomposer.model
        assert isinstance(module, EinopsViT)
        seen: dict[str, Tensor] = {}
        project = module.layers[1][0].to_out[1]  # type: ignore[index, union-attr]
        handle = project.register_forward_hook(lambda m, i, o: seen.update(z=i[0]))
        final = module.norm.register_forward_hook(lambda m, i, o: seen.update(x=i[0]))
        module(pictures(3, 16))
        handle.remove()
        final.remove()
        std = (seen["x"].var(-1, unbiased=False, keepdim=True) + module.norm.eps).rsqrt()
        part = slice(8, 16)
        expected = seen["z"][:, 0, part] @ project.weight[:, part].T * std * module.norm.weight
        got = contributions.select("layers.1.0.head.1").total()
        assert torch.allclose(got, expected.detach(), atol=1e-12)


class TestAttentionPool:
    def test_many_queries_of_which_one_counts(self) -> None:
        class Pooled(EinopsViT):
            def __init__(self) -> None:
                super().__init__()
                self.queries = nn.Parameter(torch.randn(5, WIDTH))
                self.pooler = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)

            def forward(self, images: Tensor) -> Tensor:
                x = self.to_patch_embedding(images)
                for attention, feed_forward in self.layers:
                    x = attention(x) + x
                    x = feed_forward(x) + x
                queries = self.queries.expand(x.shape[0], -1, -1)
                return self.norm(self.pooler(queries, x, x, need_weights=False)[0])[:, 0]

        contributions, decomposer = decomposed(Pooled())
        assert [g.module for g in decomposer.report_.opened] == ["pooler"]
        assert decomposer.report_.covered
        assert "embed" in names(contributions)


class Narrowed(nn.Module):
    """Some channels of a model's class token: a step behind the last product of the graph."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x)[:, 3:12]


@pytest.mark.parametrize("by", ["head", "token", "neuron"])
def test_some_channels_of_a_representation(tiny_vit, by):
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    narrowed = Narrowed(tiny_vit).eval()
    c = vd.Decomposer(narrowed, by=by).fit_transform(images)
    assert c.error.max() < 1e-12
    whole = vd.Decomposer(tiny_vit, by=by).fit_transform(images)
    assert torch.allclose(c.values, whole.values[:, :, 3:12], atol=1e-12)
