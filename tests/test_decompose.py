"""Decomposer: granularities, untouched models, exactness errors, higher orders, bad input."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import networkx as nx
import pytest
import torch
from forks import Fork, source
from helpers import pictures, randomised
from torch import Tensor, nn

import vitdecomp as vd
from vitdecomp.engine.products import PULLED
from vitdecomp.trace.rule import RULES, Op, Term

aten = torch.ops.aten


@pytest.fixture
def images() -> Tensor:
    return pictures(3, 32)


class TestGranularity:
    @pytest.mark.parametrize("by", ["head", "module", "block", "token", ("head", "token"), "neuron"])
    def test_every_cut_is_exact(self, tiny_vit: nn.Module, images: Tensor, by: Any) -> None:
        contributions = vd.Decomposer(tiny_vit, by=by).fit_transform(images)
        assert contributions.error.max() < 1e-12

    def test_coarser_cuts_are_sums_of_finer_ones(self, tiny_vit: nn.Module, images: Tensor) -> None:
        def values(by: Any, pattern: str) -> Tensor:
            return vd.Decomposer(tiny_vit, by=by).fit_transform(images).select(pattern).total()

        head = values("head", "blocks.1.attn.head.2")
        assert torch.allclose(values(("head", "token"), "blocks.1.attn.head.2.token.*"), head, atol=1e-13)
        attention = values("head", "blocks.1.attn.head.*")
        assert torch.allclose(values("module", "blocks.1.attn"), attention, atol=1e-13)
        assert torch.allclose(values("token", "blocks.1.attn.token.*"), attention, atol=1e-13)
        mlp = values("head", "blocks.1.mlp")
        assert torch.allclose(values("neuron", "blocks.1.mlp.neuron.*"), mlp, atol=1e-13)
        assert torch.allclose(values("block", "blocks.1"), attention + mlp, atol=1e-13)

    def test_block_equals_groupby(self, tiny_vit: nn.Module, images: Tensor) -> None:
        blocks = vd.Decomposer(tiny_vit, by="block").fit_transform(images)
        grouped = vd.Decomposer(tiny_vit).fit_transform(images).groupby("block")
        assert [c.name for c in blocks.components] == [c.name for c in grouped.components]
        assert torch.allclose(blocks.values, grouped.values, atol=1e-13)

    @pytest.mark.parametrize("by", ["head", "module", "block", "token", ("head", "token"), "neuron"])
    def test_attribute_is_the_product_with_contributions(self, tiny_vit: nn.Module, images: Tensor, by: Any) -> None:
        decomposer = vd.Decomposer(tiny_vit, by=by).fit(images[:1])
        contributions = decomposer.transform(images)
        q = torch.randn(2, 48, dtype=torch.float64)
        products = torch.einsum("ncd,kd->nkc", contributions.values, q)
        got = decomposer.attribute(images, q)
        rows = decomposer.components_of(by)
        names = [c.name for c in contributions.components]
        for r, row in enumerate(rows):
            cells = [
                i
                for i, n in enumerate(names)
                if n == row.name or n.startswith((f"{row.name}.token.", f"{row.name}.neuron."))
            ]
            value = got[:, :, r] if got.ndim == 3 else got[:, :, r, : len(cells)]
            expected = products[..., cells[0]] if got.ndim == 3 else products[..., cells]
            assert torch.allclose(value, expected, atol=1e-11)

    @pytest.mark.parametrize("by", ["head", "module", "block"])
    def test_many_directions_are_as_one_by_one(self, tiny_vit: nn.Module, images: Tensor, by: Any) -> None:
        decomposer = vd.Decomposer(tiny_vit).fit(images[:1])
        q = torch.randn(PULLED + 3, 48, dtype=torch.float64)
        each = [decomposer.attribute(images, q[i : i + 1], by=by) for i in range(len(q))]
        assert torch.allclose(decomposer.attribute(images, q, by=by), torch.cat(each, 1), atol=1e-12)
        own = torch.randn(3, PULLED + 1, 48, dtype=torch.float64)
        alone = [decomposer.attribute(images, own[:, i : i + 1], by=by) for i in range(PULLED + 1)]
        assert torch.allclose(decomposer.attribute(images, own, by=by), torch.cat(alone, 1), atol=1e-12)

    def test_a_direction_for_each_image(self, tiny_vit: nn.Module, images: Tensor) -> None:
        decomposer = vd.Decomposer(tiny_vit).fit(images[:1])
        own = torch.randn(3, 1, 48, dtype=torch.float64)
        each = torch.cat([decomposer.attribute(images[i : i + 1], own[i]) for i in range(3)])
        assert torch.allclose(decomposer.attribute(images, own), each, atol=1e-12)


class TestUntouched:
    def test_the_module_is_left_as_it_was(self, tiny_vit: nn.Module, images: Tensor) -> None:
        tiny_vit.train()
        tiny_vit.get_submodule("blocks.1").eval()
        flags = [m.training for m in tiny_vit.modules()]
        before = copy.deepcopy(tiny_vit.state_dict())
        tensors = {n: id(p) for n, p in tiny_vit.named_parameters()}
        torch.manual_seed(5)
        state = torch.get_rng_state()
        decomposer = vd.Decomposer(tiny_vit).fit(images)
        decomposer.transform(images)
        decomposer.attribute(images, torch.randn(1, 48, dtype=torch.float64, generator=torch.Generator()))
        assert torch.equal(torch.get_rng_state(), state)
        assert [m.training for m in tiny_vit.modules()] == flags
        assert {n: id(p) for n, p in tiny_vit.named_parameters()} == tensors
        assert all(torch.equal(v, before[k]) for k, v in tiny_vit.state_dict().items())
        assert all(p.grad is None and p.requires_grad for p in tiny_vit.parameters())
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in tiny_vit.modules())
        assert torch.is_grad_enabled()
        assert torch.backends.mha.get_fastpath_enabled()

    def test_dropout_is_off_even_for_a_module_in_training(self, images: Tensor) -> None:
        from timm.models.vision_transformer import VisionTransformer

        module = VisionTransformer(
            img_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=4, num_classes=0, proj_drop_rate=0.5
        )
        randomised(module)
        truth = module(images).detach()
        module.train()
        assert torch.allclose(vd.Decomposer(module).fit_transform(images).total(), truth, atol=1e-11)

    def test_weights_are_shared(self, tiny_vit: nn.Module, images: Tensor) -> None:
        decomposer = vd.Decomposer(tiny_vit).fit(images)
        with torch.no_grad():
            for parameter in tiny_vit.parameters():
                parameter.mul_(1.1)
        assert torch.allclose(decomposer.transform(images).total(), tiny_vit(images).detach(), atol=1e-11)

    def test_images_keep_their_gradient_state(self, tiny_vit: nn.Module, images: Tensor) -> None:
        images.requires_grad_()
        contributions = vd.Decomposer(tiny_vit).fit_transform(images)
        assert not contributions.values.requires_grad
        assert images.grad is None


class TestDtypes:
    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
    def test_within_the_tolerance_of_the_dtype(self, tiny_vit: nn.Module, images: Tensor, dtype: torch.dtype) -> None:
        contributions = vd.Decomposer(tiny_vit.to(dtype)).fit_transform(images.to(dtype))
        assert contributions.values.dtype == dtype
        assert contributions.error.max() <= vd.TOLERANCE[dtype]


class TestExactness:
    def test_too_small_a_tolerance_is_reported(self, tiny_vit: nn.Module, images: Tensor) -> None:
        with pytest.raises(vd.InexactError, match=r"miss the representation by .*allowed 1e-25"):
            vd.Decomposer(tiny_vit, tolerance=1e-25).fit(images)

    @pytest.fixture
    def wrong_eps(self) -> Iterator[None]:
        right = RULES[aten.layer_norm]

        def wrong(
            op: Op, x: Any, size: Any, weight: Any = None, bias: Any = None, eps: float = 0, *_: Any
        ) -> list[Term]:
            return list(right(op, x, size, weight, bias, 0.1) or ())

        RULES.add(aten.layer_norm, wrong, replace=True)
        yield
        RULES.add(aten.layer_norm, right, replace=True)

    @pytest.mark.usefixtures("wrong_eps")
    def test_the_message_says_where_the_error_comes_in(self, tiny_vit: nn.Module, images: Tensor) -> None:
        with pytest.raises(vd.InexactError, match=r"comes in at aten\.layer_norm\.default in norm"):
            vd.Decomposer(tiny_vit).fit(images)

    def test_a_larger_tolerance_lets_it_pass(self, wrong_eps: None, tiny_vit: nn.Module, images: Tensor) -> None:
        contributions = vd.Decomposer(tiny_vit, tolerance=1.0).fit_transform(images)
        assert contributions.error.min() > 1e-4


class TestHigherOrders:
    def test_paths_through_an_attention(self, tiny_vit: nn.Module, images: Tensor) -> None:
        plain = vd.Decomposer(tiny_vit).fit_transform(images)
        higher = vd.Decomposer(tiny_vit, through=["blocks.2.attn"]).fit(images)
        contributions = higher.transform(images)
        assert contributions.error.max() < 1e-12
        assert not any(c.name.startswith("blocks.2.attn") for c in contributions.components)
        assert any(c.kind == "embed" for c in contributions.components)  # patches are read by that attention
        late = contributions.select("blocks.2.mlp").values
        assert torch.allclose(late, plain.select("blocks.2.mlp").values, atol=1e-13)
        early = contributions.select("blocks.0.mlp").values - plain.select("blocks.0.mlp").values
        assert early.abs().max() > 1e-3  # the direct effect, and the one through block 2

    def test_the_difference_is_what_flows_through_the_attention(self, tiny_vit: nn.Module, images: Tensor) -> None:
        """What earlier parts gain is what the attention's heads had, but for the norm's constants in between."""
        plain = vd.Decomposer(tiny_vit).fit_transform(images)
        higher = vd.Decomposer(tiny_vit, through=["blocks.2.attn"]).fit_transform(images)
        heads = plain.select("blocks.2.attn.*").total()
        names = {c.name for c in plain.components}
        gained = higher.total() - plain.select(lambda c: not c.name.startswith("blocks.2.attn.")).total()
        assert torch.allclose(gained, heads, atol=1e-11)
        assert {c.name for c in higher.components} - names >= {"const.blocks.2.norm1.mean", "embed"}

    def test_an_unknown_module(self, tiny_vit: nn.Module, images: Tensor) -> None:
        with pytest.raises(vd.VitdecompError, match=r"no attention in module 'blocks\.9'; there are: blocks\.0\.attn"):
            vd.Decomposer(tiny_vit, through=["blocks.9"]).fit(images)


class TestReport:
    def test_it_prints_and_serialises(self, tiny_vit: nn.Module, images: Tensor) -> None:
        report = vd.Decomposer(tiny_vit).fit(images).report_
        assert "coverage: 6 of 6" in str(report)
        assert report.exact
        assert report.covered
        plain = report.to_json()
        assert plain["heads"] == {f"blocks.{i}.attn": 4 for i in range(3)}
        assert plain["coverage"]["complete"] is True

    def test_the_graph_is_a_dag_with_paths(self, tiny_vit: nn.Module, images: Tensor) -> None:
        report = vd.Decomposer(tiny_vit).fit(images).report_
        assert nx.is_directed_acyclic_graph(report.graph)
        paths = report.paths("blocks.1.attn.head.2")
        assert len(paths) == 1
        assert paths[0][0] == "blocks.1.attn"
        assert paths[0][-1] == "representation"
        assert report.paths("nothing") == []

    def test_several_paths_from_one_source_add_up(self, images: Tensor) -> None:
        class Twice(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.a, self.b, self.c = nn.Linear(3, 8), nn.Linear(8, 5), nn.Linear(8, 5)

            def forward(self, x: Tensor) -> Tensor:
                hidden = torch.relu(self.a(x.mean((2, 3))))
                return self.b(hidden) + 2 * self.c(hidden)

        module = randomised(Twice())
        decomposer = vd.Decomposer(module).fit(images)
        contributions = decomposer.transform(images)
        assert contributions.error.max() < 1e-12
        (source,) = [c for c in contributions.components if not c.is_constant]
        assert len(decomposer.report_.paths(source)) >= 1
        hidden = torch.relu(module.a(images.mean((2, 3))))
        expected = hidden @ (module.b.weight + 2 * module.c.weight).T
        assert torch.allclose(contributions.select(lambda c: c == source).total(), expected, atol=1e-12)


class Vectorless(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


class Constant(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.vector = nn.Parameter(torch.randn(4, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return self.vector.expand(x.shape[0], -1)


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x.mean((2, 3))
        return y * 2 if float(y.sum()) > 0 else y


class Noisy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x.mean((2, 3))
        return y + torch.randn_like(y)


class TestBadInput:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda x: x[:0], "a batch of zero"),
            (lambda x: x[:, :, :16], r"inputs of shape \(3, 16, 32\)"),
            (lambda x: x[:, :2], r"inputs of shape \(2, 32, 32\)"),
            (lambda x: x.float(), "torch.float32 on cpu, the model is torch.float64"),
            (lambda x: x * float("nan"), "NaN or infinity"),
            (lambda x: x / 0, "NaN or infinity"),
        ],
    )
    def test_images(self, tiny_vit: nn.Module, images: Tensor, change: Any, message: str) -> None:
        decomposer = vd.Decomposer(tiny_vit).fit(images)
        with pytest.raises(vd.InputError, match=message):
            decomposer.transform(change(images))

    def test_the_first_images(self, tiny_vit: nn.Module) -> None:
        with pytest.raises(vd.InputError, match=r"does not take images of shape \(3, 40, 40\)"):
            vd.Decomposer(tiny_vit).fit(pictures(1, 40))

    @pytest.mark.parametrize("directions", [torch.zeros(2, 47), torch.zeros(48), torch.zeros(2, 1, 48)])
    def test_directions(self, tiny_vit: nn.Module, images: Tensor, directions: Tensor) -> None:
        decomposer = vd.Decomposer(tiny_vit).fit(images)
        with pytest.raises(vd.InputError, match="directions"):
            decomposer.attribute(images, directions.double())

    @pytest.mark.parametrize(
        ("module", "error", "message"),
        [
            (Vectorless(), vd.InputError, r"must return one vector per image, \(n, d\)"),
            (Constant(), vd.CoverageError, "does not depend on the input"),
            (Branching(), vd.TraceError, "cannot capture Branching as a graph"),
            (Noisy(), vd.TraceError, "random numbers"),
        ],
    )
    def test_models(self, images: Tensor, module: nn.Module, error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message) as caught:
            vd.Decomposer(module).fit(images)
        assert "\n" not in str(caught.value)

    def test_not_fitted(self, tiny_vit: nn.Module, images: Tensor) -> None:
        with pytest.raises(vd.SpecError, match="not fitted yet"):
            vd.Decomposer(tiny_vit).transform(images)

    def test_wrong_types(self) -> None:
        """In a bare Python, since the shape checks of a test run would speak up first."""
        calls = [
            "vd.Decomposer(3).fit(x)",
            "vd.Decomposer('vit_tiny_patch16_224').fit(x)",
            "vd.Decomposer(torch.nn.Flatten(), by='layer')",
            "vd.Decomposer(torch.nn.Flatten()).fit([x])",
            "vd.Decomposer(torch.nn.Flatten(), through='most').fit(x)",
        ]
        script = "import torch, vitdecomp as vd\nx = torch.zeros(1, 3, 4, 4)\n" + "".join(
            f"try:\n    {call}\nexcept vd.VitdecompError as error:\n    print(error)\n" for call in calls
        )
        messages = Fork(source, script).communicate()[0].splitlines()
        assert len(messages) == len(calls)
        expected = [
            "not int",
            "not of the form library:name",
            "by='layer' is not one of",
            "not list",
            "give one of 'none', 'auto', 'all', or a collection of module paths",
        ]
        assert all(part in message for part, message in zip(expected, messages, strict=True))

    def test_unknown_output(self, tiny_vit: nn.Module, images: Tensor) -> None:
        with pytest.raises(vd.SpecError, match="has no output 'embeding'; did you mean embedding"):
            vd.Decomposer(tiny_vit, output="embeding").fit(images)


def test_the_representation_is_one_component(tiny_vit):
    images = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    dec = vd.Decomposer(tiny_vit, by="representation").fit(images[:1])
    c = dec.transform(images)
    assert [k.name for k in c.components] == ["representation"]
    assert torch.allclose(c["representation"], tiny_vit(images), rtol=0, atol=1e-12 * float(c.values.norm()))
    q = torch.randn(2, c.dimension, dtype=torch.float64)
    assert torch.allclose(dec.attribute(images, q), torch.einsum("ncd,qd->nqc", c.values, q))
