"""Gates in branches: opened where blocks need it, few of them, and never in place of plain components."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers import randomised
from torch import Tensor, nn

import vitdecomp as vd
from vitdecomp.engine.component_set import split
from vitdecomp.trace.find import find_paths

WIDTH, TOKENS = 8, 4


class Attention(nn.Module):
    def __init__(self, queries: int = TOKENS) -> None:
        super().__init__()
        self.queries = queries
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, 2, -1)).permute(2, 0, 3, 1, 4)
        x = F.scaled_dot_product_attention(q[..., : self.queries, :], k, v)
        return self.proj(x.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn, self.mlp = Attention(), Mlp()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(x)
        return x + self.mlp(x)


class Tokens(nn.Module):
    """Patches of an image of 4 x 4 pixels, each of 2 x 2."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, WIDTH, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.embed(x).flatten(2).transpose(1, 2)


class BranchBehindGate(nn.Module):
    """MobileViT: a transformer between two activations of a branch, beside which the tokens go on."""

    gates = frozenset({"after"})
    named = "mlp"  # the activation that is opened, as a component

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.block, self.late = Tokens(), Block(), Block()
        self.after, self.fuse = nn.Linear(WIDTH, WIDTH), nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = self.tokens(x)
        branch = F.silu(self.after(self.block(x)))
        return self.late(self.fuse(torch.cat([x, branch], 2))).mean(1)


class TwoGates(BranchBehindGate):
    """Put two activations in the branch, one behind the other."""

    gates = frozenset({"after", "again"})

    def __init__(self) -> None:
        super().__init__()
        self.again = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = self.tokens(x)
        branch = F.silu(self.again(F.silu(self.after(self.block(x)))))
        return self.late(self.fuse(torch.cat([x, branch], 2))).mean(1)


class MlpBeside(nn.Module):
    """A way through a gate between two blocks, and one through the MLP of the second, which is a component."""

    gates = frozenset({"between", "out"})
    named = "mlp.2"

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.block, self.mlp = Tokens(), Block(), Mlp()
        self.between, self.out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = self.tokens(x)
        y = self.block(x) - x
        return (x + self.mlp(y) + F.silu(self.out(F.silu(self.between(y))))).mean(1)


class AttentionOnTrunk(nn.Module):
    """LeViT: an attention with many queries between two stages, with no residual branch beside it."""

    gates = frozenset({"down"})
    named = "down"

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.block, self.down, self.late = Tokens(), Block(), Attention(2), Block()

    def forward(self, x: Tensor) -> Tensor:
        return self.late(self.down(self.block(self.tokens(x)))).mean(1)


class NothingNeeded(nn.Module):
    """A plain model."""

    gates: frozenset[str] = frozenset()
    named = "nothing"

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.block, self.late = Tokens(), Block(), Block()

    def forward(self, x: Tensor) -> Tensor:
        return self.late(self.block(self.tokens(x))).mean(1)


class LateClassToken(nn.Module):
    """ConViT: patches act on the class token through attention alone, whatever is opened in branches."""

    gates: frozenset[str] = frozenset()
    named = "nothing"

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.block, self.late = Tokens(), Block(), nn.ModuleList([Block(), Block()])
        self.cls = nn.Parameter(torch.randn(1, 1, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        x = self.block(self.tokens(x))
        x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], 1)
        for block in self.late:
            x = x + self.attend(block, x)
            x = x + block.mlp(x)
        return x[:, 0]

    def attend(self, block: Any, x: Tensor) -> Tensor:
        q, k, v = block.attn.qkv(x).unflatten(2, (3, 2, -1)).permute(2, 0, 3, 1, 4)
        found: Tensor = block.attn.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return found


REACHED = (BranchBehindGate, TwoGates, AttentionOnTrunk, NothingNeeded)
ALL = (*REACHED, MlpBeside, LateClassToken)


def fitted(kind: type[nn.Module], **settings: Any) -> tuple[vd.Decomposer, Tensor]:
    torch.manual_seed(0)
    images = torch.randn(3, 3, 4, 4, dtype=torch.float64)
    return vd.Decomposer(randomised(kind()), cache=None, **settings).fit(images[:1]), images


def names(decomposer: vd.Decomposer) -> set[str]:
    return {c.name for c in decomposer.components_ if c.kind not in ("const", "bias")}


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("through", ["none", "auto", "all"])
def test_the_sum_is_exact_whatever_is_opened(kind: type[nn.Module], through: str) -> None:
    decomposer, images = fitted(kind, through=through)
    assert decomposer.transform(images).error.max() < 1e-12


@pytest.mark.parametrize("kind", REACHED)
def test_every_block_is_reached(kind: type[nn.Module]) -> None:
    decomposer, _ = fitted(kind)
    assert decomposer.report_.missing == ()


@pytest.mark.parametrize("kind", ALL)
def test_the_gates_that_blocks_need_are_opened_and_no_others(kind: Any) -> None:
    """An activation by the layer in front of it, which the components are named after."""
    decomposer, _ = fitted(kind)
    graph = decomposer.views.paths.bottleneck.linearized
    before = {str(node.all_input_nodes[0].meta["nn_module_stack"]) for node in graph}
    assert len(graph) == len(kind.gates)
    assert all(any(gate in stack for stack in before) for gate in kind.gates)


@pytest.mark.parametrize("kind", ALL)
def test_plain_components_keep_their_names(kind: Any) -> None:
    plain, opened = (names(fitted(kind, through=through)[0]) for through in ("none", "auto"))
    assert {name for name in plain - opened if not name.startswith(kind.named)} == set()


def test_a_plain_component_is_spared_where_another_gate_opens() -> None:
    decomposer, _ = fitted(MlpBeside)
    assert "mlp" in names(decomposer)
    assert any(name.startswith("block.attn") for name in names(decomposer))


def test_patches_behind_an_attention_are_told_and_no_gate_is_opened_for_them() -> None:
    decomposer, _ = fitted(LateClassToken)
    report = decomposer.report_
    assert not report.opened
    assert {site.name for site in report.missing} == {"block.attn", "block.mlp"}


@pytest.mark.parametrize("kind", REACHED)
def test_all_leads_down_to_the_image(kind: type[nn.Module]) -> None:
    decomposer, _ = fitted(kind, through="all")
    assert names(decomposer) == {"embed"}


@pytest.mark.parametrize("kind", ALL)
def test_none_opens_nothing(kind: type[nn.Module]) -> None:
    decomposer, _ = fitted(kind, through="none")
    assert not decomposer.report_.opened


@pytest.mark.parametrize("through", ["none", "auto", "all"])
def test_a_word_in_a_collection_is_the_word(through: str) -> None:
    """Stores and files keep a collection."""
    word, listed = (fitted(BranchBehindGate, through=one)[0] for one in (through, [through]))
    assert word.components_ == listed.components_


@pytest.mark.parametrize("kind", ALL)
def test_passes_change_no_number(kind: type[nn.Module]) -> None:
    decomposer, images = fitted(kind)
    plain = find_paths(decomposer.views.captured, passes=())
    units = split(plain, "head")
    representation, recorded = plain.recorder(images)
    values = units.pushed(recorded, len(images), representation)
    expected = decomposer.transform(images).values
    assert units.components == decomposer.components_
    assert (values - expected).abs().max() <= 1e-12 * expected.abs().max()
