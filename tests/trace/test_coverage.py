"""What counts as a missing part, and what as the making of the embedding."""

import pytest
import torch
import torch.nn.functional as F
from helpers import pictures, randomised
from timm.models.vision_transformer import Block as TimmBlock
from torch import nn
from written import HEADS, HIDDEN, WAYS, WIDTH, Asking, Attention, Block, Mlp, ViT, hidden, plain

import vitdecomp as vd
from vitdecomp.testing import randomise


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(width, width, 3, 1, 1), nn.Conv2d(width, width, 3, 1, 1)

    def forward(self, x):
        return x + self.conv2(self.conv1(x).relu())


class ClassToken(nn.Module):
    """Patches by several convolutions, then blocks that a class token reads; perhaps a stage before them."""

    def __init__(self, early=False):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 12, 3, 2, 1), nn.GELU(), Residual(12), nn.GELU(), nn.Conv2d(12, 16, 2, 2)
        )
        self.early = TimmBlock(16, 2) if early else None
        self.token = nn.Parameter(torch.zeros(1, 1, 16))
        self.blocks = nn.Sequential(TimmBlock(16, 2), TimmBlock(16, 2))

    def forward(self, x):
        x = self.stem(x).flatten(2).transpose(1, 2)
        if self.early is not None:
            x = self.early(x).softmax(-1)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1)
        return self.blocks(x)[:, 0]


def missing(model):
    randomise(model.double().eval())
    dec = vd.Decomposer(model).fit(torch.randn(2, 3, 16, 16, dtype=torch.float64))
    assert float(dec.transform(torch.randn(3, 3, 16, 16, dtype=torch.float64)).error.max()) < 1e-12
    return {site.name for site in dec.report_.missing}


def test_the_convolutions_that_make_the_tokens_are_no_missing_blocks():
    assert missing(ClassToken()) == set()


def test_a_stage_that_the_path_cannot_reach_is_missing_with_all_that_lies_before_it():
    assert missing(ClassToken(early=True)) >= {"early.attn", "early.mlp", "stem.2"}


def fitted(model):
    dec = vd.Decomposer(randomised(model), cache=None).fit(pictures(2, 8)[:1])
    return dec, dec.transform(pictures(2, 8))


def components(contributions):
    return [(c.name, c.kind) for c in contributions.components if not c.is_constant and c.kind != "attn"]


class OnlyMlp(nn.Module):
    """A block without attention."""

    def __init__(self, mlp):
        super().__init__()
        self.norm, self.mlp = nn.LayerNorm(WIDTH), mlp

    def forward(self, x):
        return x + self.mlp(self.norm(x))


class OnlyAttention(nn.Module):
    """A block without MLP."""

    def __init__(self, attn):
        super().__init__()
        self.norm, self.attn = nn.LayerNorm(WIDTH), attn

    def forward(self, x):
        return x + self.attn(self.norm(x))


def one_activation_each(kind, functions, ask=False):
    torch.manual_seed(0)
    mlps = [Mlp(f, hidden(kind)) for f in functions]
    if ask:
        return ViT(*(OnlyAttention(Asking(mlp)) for mlp in mlps))
    return ViT(*(OnlyMlp(mlp) for mlp in mlps))


class TestWays:
    """Whichever way an activation is written, there is one MLP, of the same name, and it says the same."""

    @pytest.mark.parametrize("kind", WAYS)
    def test_every_way_is_a_block_of_the_same_name_kind_and_value(self, kind):
        ways = WAYS[kind]
        assert len(ways) >= 5
        dec, written = fitted(one_activation_each(kind, ways))
        _, called = fitted(one_activation_each(kind, [ways[0]] * len(ways)))
        assert components(written) == [("embed", "embed")] + [(f"blocks.{i}.mlp", "mlp") for i in range(len(ways))]
        assert [(s.name, s.status) for s in dec.report_.sites] == [
            (f"blocks.{i}.mlp", "source") for i in range(len(ways))
        ]
        assert dec.report_.covered
        assert written.error.max() <= 1e-12
        assert [c.name for c in written.components] == [c.name for c in called.components]
        assert (written.values - called.values).abs().max() <= 1e-10 * called.values.abs().max()

    @pytest.mark.parametrize("kind", ["quick_gelu", "relu", "swiglu"])
    def test_one_that_only_asks_is_missed_in_every_way(self, kind):
        ways = WAYS[kind][:5]
        dec, contributions = fitted(one_activation_each(kind, ways, ask=True))
        assert contributions.error.max() <= 1e-12
        assert {s.name: s.why for s in dec.report_.missing} == {
            f"blocks.{i}.attn.ask": f"acts only through the attention pattern of blocks.{i}.attn.attend"
            for i in range(5)
        }

    @pytest.mark.parametrize("way", [0, 2, 5])
    def test_on_the_trunk_it_is_opened_or_makes_the_embedding(self, way):
        class Trunk(ViT):
            def forward(self, images):
                return WAYS["relu"][way](self.tokens(images)).mean(1)

        class Stem(ViT):
            def __init__(self, *blocks):
                super().__init__(*blocks)
                self.stem = nn.Conv2d(3, 3, 3, 1, 1)

            def forward(self, images):
                return super().forward(WAYS["relu"][way](self.stem(images)))

        for model, opened in (Trunk, 1), (Stem, 0):
            dec, contributions = fitted(model(plain()))
            assert components(contributions) == [("embed", "embed"), ("blocks.0.mlp", "mlp")]
            assert (len(dec.report_.opened), dec.report_.missing) == (opened, ())
            assert contributions.error.max() <= 1e-12


class Talking(Attention):
    """Patterns mixed over their heads by a parameter of the attention's own, before and after the softmax."""

    def __init__(self, mix, before, after):
        super().__init__()
        self.mix, self.before, self.after = mix, before, after
        self.one, self.two = (nn.Parameter(torch.randn(HEADS, HEADS)) for _ in "ab")

    def attend(self, q, k, v):
        scores = q @ k.mT
        pattern = (self.mix(scores, self.one) if self.before else scores).softmax(-1)
        return (self.mix(pattern, self.two) if self.after else pattern) @ v


MIXES = {
    "einsum": lambda a, p: torch.einsum("bhij,hg->bgij", a, p),
    "matmul": lambda a, p: (a.permute(0, 2, 3, 1) @ p).permute(0, 3, 1, 2),
    "left": lambda a, p: (p @ a.flatten(2)).view_as(a),
    "linear": lambda a, p: F.linear(a.permute(0, 2, 3, 1), p).permute(0, 3, 1, 2),
    "convolution": lambda a, p: F.conv2d(a, p[..., None, None]),
    "sum": lambda a, p: (a[:, None] * p[None, :, :, None, None]).sum(2),
}


class SoftMixture(nn.Module):
    """Experts for weighted sums of tokens, whose outputs are dealt back by weights (a soft mixture of experts)."""

    def __init__(self):
        super().__init__()
        self.slots = nn.Parameter(torch.randn(WIDTH, 3, 2))
        self.experts = nn.ModuleList(Mlp(F.gelu) for _ in range(3))

    def forward(self, x):
        scores = torch.einsum("bnd,dep->bnep", x, self.slots)
        inputs = torch.einsum("bnd,bnep->bepd", x, scores.softmax(1))
        outputs = torch.stack([expert(inputs[:, i]) for i, expert in enumerate(self.experts)], 1)
        return torch.einsum("bepd,bnep->bnd", outputs, scores.flatten(2).softmax(-1).view_as(scores))


class TopExperts(SoftMixture):
    """Two of three experts for each token."""

    def forward(self, x):
        weights = torch.einsum("bnd,dep->bnep", x, self.slots)[..., 0].softmax(-1)
        best, places = weights.topk(2, -1)
        weights = torch.zeros_like(weights).scatter(-1, places, best)
        return sum(weights[..., i, None] * expert(x) for i, expert in enumerate(self.experts))


class GeneralisedMean(nn.Module):
    def __init__(self, head):
        super().__init__()
        self.p, self.head = nn.Parameter(torch.tensor(3.0)), nn.Linear(WIDTH, 7) if head else nn.Identity()

    def forward(self, x):
        return self.head(x.clamp(min=1e-6).pow(self.p).mean(1).pow(1 / self.p))


class Excited(Mlp):
    """An MLP whose output is scaled by a gate with an activation written by hand."""

    def __init__(self):
        super().__init__(F.gelu)
        self.reduce, self.expand = nn.Linear(WIDTH, 4), nn.Linear(4, WIDTH)

    def forward(self, x):
        y = super().forward(x)
        z = self.reduce(y.mean(1, keepdim=True))
        return y * torch.sigmoid(self.expand(z * z.sigmoid()))


class External(nn.Module):
    """Attention to a memory of parameters: an MLP with a softmax for its activation."""

    def __init__(self):
        super().__init__()
        self.keys, self.values = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, WIDTH)

    def forward(self, x):
        return self.values(self.keys(x).softmax(-1))


class TestNoFalseAlarm:
    @pytest.mark.parametrize("how", MIXES)
    def test_talking_heads(self, how):
        mixed = [(True, False), (False, True), (True, True)]
        dec, contributions = fitted(ViT(*(Block(Talking(MIXES[how], *b), Mlp(F.gelu)) for b in mixed)))
        assert dec.report_.heads == {f"blocks.{i}.attn": HEADS for i in range(3)}
        assert (len(dec.report_.sites), dec.report_.missing) == (6, ())
        assert contributions.error.max() <= 1e-12

    @pytest.mark.parametrize("mixture", [SoftMixture, TopExperts])
    def test_mixtures_of_experts(self, mixture):
        model = ViT(Block(Attention(), mixture()))
        dec, contributions = fitted(model)
        experts = {f"blocks.0.mlp.experts.{i}" for i in range(3)}
        assert dec.report_.missing == ()
        assert {s.name for s in dec.report_.sites} == {"blocks.0.attn"} | experts
        assert contributions.error.max() <= 1e-12
        assert {c.kind for c in contributions.components if "experts" in c.name and not c.is_constant} == {"mlp"}

    @pytest.mark.parametrize("head", [False, True])
    def test_a_generalised_mean_is_crossed(self, head):
        dec, contributions = fitted(ViT(plain(), pool=GeneralisedMean(head)))
        assert dec.report_.missing == ()
        assert [g.module for g in dec.report_.opened] == ["pool"] * 3
        assert contributions.error.max() <= 1e-12

    def test_gates_are_no_blocks_and_a_softmax_between_projections_is_one(self):
        dec, _ = fitted(ViT(Block(Attention(), Excited()), Block(External(), Mlp(F.gelu))))
        names = {s.name for s in dec.report_.sites}
        assert names == {"blocks.0.attn", "blocks.0.mlp", "blocks.1.attn", "blocks.1.mlp"}
        assert dec.report_.missing == ()


class WithToken(ViT):
    """A class token that is read before an MLP of the patches, and one that is multiplied by zero."""

    def __init__(self):
        super().__init__(plain())
        self.token, self.late, self.quiet = nn.Parameter(torch.randn(1, 1, WIDTH)), Mlp(F.gelu), Mlp(F.gelu)
        self.early = Mlp(F.gelu)

    def forward(self, images):
        x = self.patches(images).flatten(2).mT
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1)
        x = self.blocks(x)
        x = torch.cat([x[:, :1], x[:, 1:] + self.early(x[:, 1:])], 1)
        x = self.blocks[0](x)
        x = x + 0.0 * self.quiet(x)
        x = torch.cat([x[:, :1], x[:, 1:] + self.late(x[:, 1:])], 1)
        return self.norm(x)[:, 0]


class Behind(ViT):
    """A block behind an operation that is not crossed."""

    def __init__(self):
        super().__init__(plain(), plain())

    def forward(self, images):
        x = self.blocks[0](self.patches(images).flatten(2).mT)
        return self.norm(self.blocks[1](x.softmax(-1))).mean(1)


class InOneForward(nn.Module):
    """All in the block's own forward: an MLP for the queries and one for the tokens."""

    def __init__(self):
        super().__init__()
        self.attn, self.a, self.b = Attention(), nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, WIDTH)
        self.c, self.d = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, WIDTH)

    def forward(self, x):
        x = x + self.attn(x, self.b(F.silu(self.a(x))))
        return x + self.d(F.silu(self.c(x)))


class TestWhy:
    def reasons(self, model):
        dec, contributions = fitted(model)
        assert contributions.error.max() <= 1e-12
        modules = {path for path, _ in model.named_modules()}
        assert {s.name for s in dec.report_.missing} <= modules
        return {s.name: s.why for s in dec.report_.missing}

    def test_cut_off_by_a_selection_multiplied_by_zero_or_seen_by_attention_alone(self):
        why = self.reasons(WithToken())
        assert why["late"] == "does not reach the representation: select in the model's own forward leaves it out"
        assert why["quiet"] == "does not reach the representation: mul in the model's own forward multiplies it by zero"
        assert "the attention pattern of blocks.0.attn" in why["early"]
        assert "the values of blocks.0.attn (a source itself)" in why["early"]
        assert why["early"].endswith("in the model's own forward leaves it out")
        assert set(why) == {"late", "quiet", "early"}

    def test_behind_an_operation_that_is_not_opened(self):
        softmax = "acts only through softmax in the model's own forward (not linear, not opened)"
        assert self.reasons(Behind()) == {"blocks.0.attn": softmax, "blocks.0.mlp": softmax}

    def test_beside_another_block_of_one_module_it_goes_by_its_projection(self):
        why = self.reasons(ViT(InOneForward()))
        assert why == {"blocks.0.b": "acts only through the attention pattern of blocks.0.attn"}
