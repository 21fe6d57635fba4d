"""Every supported family: exact, covered, heads and gates as they are, push equal to pull, tokens adding up."""

from __future__ import annotations

import pytest
import torch
from families import NAMES, Case, case, grouped
from zoo import ZOO

from vitdecomp.engine.component_set import split
from vitdecomp.models.adapter import as_loaded
from vitdecomp.trace.find import find_paths


@pytest.fixture(params=grouped(NAMES))
def known(request: pytest.FixtureRequest) -> Case:
    found: Case = case(request.param)
    return found


class TestFamilies:
    def test_the_sum_is_the_models_own_representation(self, known: Case) -> None:
        module = as_loaded(known.module).representation()
        with torch.no_grad():
            truth = module(known.images)
        error = (known.contributions.total() - truth).norm(dim=1) / truth.norm(dim=1)
        assert error.max() <= 1e-12
        assert known.contributions.error.max() <= 1e-12

    def test_every_attention_appears_with_its_heads(self, known: Case) -> None:
        assert known.decomposer.report_.heads == known.animal.heads

    def test_no_block_is_missing(self, known: Case) -> None:
        assert known.decomposer.report_.missing == ()
        assert known.decomposer.report_.covered

    def test_what_the_report_names_exists(self, known: Case) -> None:
        report = known.decomposer.report_
        modules = {path for path, _ in known.module.named_modules(remove_duplicate=False)}
        components = {c.name for c in report.components} | set(report.heads)
        assert {site.name for site in report.sites} <= modules | components
        assert {site.name for site in report.missing} <= modules

    def test_push_and_pull_are_the_same_map(self, known: Case) -> None:
        q = torch.randn(3, known.contributions.values.shape[2], dtype=torch.float64)
        pulled = known.decomposer.attribute(known.images, q)
        pushed = torch.einsum("ncd,kd->nkc", known.contributions.values, q)
        assert (pulled - pushed).abs().max() <= 1e-10 * pushed.abs().max()

    def test_passes_change_no_number(self, known: Case) -> None:
        """What the plain paths give, with nothing pushed down and nothing folded."""
        plain = find_paths(known.decomposer.views.captured, passes=())
        units = split(plain, "head")
        assert units.components == known.contributions.components
        representation, recorded = plain.recorder(known.images[:2])
        with torch.no_grad():
            values = units.pushed(recorded, 2, representation)
        expected = known.contributions.values[:2]
        assert (values - expected).abs().max() <= 1e-12 * expected.abs().max()

    def test_tokens_add_up_to_their_head(self, known: Case) -> None:
        heads = [i for i, c in enumerate(known.contributions.components) if c.head is not None]
        if not heads:
            pytest.skip("no attention")
        q = torch.randn(2, known.contributions.values.shape[2], dtype=torch.float64)
        by_token = known.decomposer.attribute(known.images, q, by=("head", "token"))
        by_head = known.decomposer.attribute(known.images, q)[..., heads]
        assert by_token.shape[:3] == by_head.shape
        assert (by_token.sum(-1) - by_head).abs().max() <= 1e-10 * by_head.abs().max().clamp_min(1)

    def test_neurons_add_up_to_their_mlp(self, known: Case) -> None:
        q = torch.randn(1, known.contributions.values.shape[2], dtype=torch.float64)
        rows = known.decomposer.components_of("neuron")
        names = [c.name for c in known.contributions.components]
        whole = known.decomposer.attribute(known.images, q)[..., [names.index(r.name) for r in rows]]
        neurons = known.decomposer.attribute(known.images, q, by="neuron")
        assert neurons.shape[:3] == whole.shape
        assert neurons.shape[3] > 1
        assert (neurons.sum(-1) - whole).abs().max() <= 1e-10 * whole.abs().max().clamp_min(1)

    def test_names_are_unique_and_kinds_are_known(self, known: Case) -> None:
        components = known.contributions.components
        assert len({c.name for c in components}) == len(components)
        assert {c.kind for c in components} <= {"attn", "mlp", "conv", "embed", "const"}

    def test_an_image_alone_and_in_a_batch_gives_the_same(self, known: Case) -> None:
        alone = known.decomposer.transform(known.images[2:3])
        together = known.contributions.values[2:3]
        assert (alone.values - together).abs().max() <= 1e-10 * together.abs().max()

    def test_every_component_says_something(self, known: Case) -> None:
        norms = known.contributions.values.norm(dim=2).amax(0)
        assert (norms > 0).all()


@pytest.mark.parametrize("name", grouped(ZOO))
def test_gates_opened_and_embedding(name: str) -> None:
    known = case(name)
    assert len(known.decomposer.report_.opened) == known.animal.opened
    assert any(c.kind == "embed" for c in known.contributions.components) == known.animal.embed


@pytest.mark.xdist_group("vit_cls")
def test_heads_are_the_true_ones() -> None:
    """A head's contribution equals the textbook formula on its slice of the output projection."""
    known = case("vit_cls")
    block, mean_free = known.module.get_submodule("blocks.2"), {}
    handle = block.get_submodule("attn.proj").register_forward_hook(lambda m, i, o: mean_free.update(z=i[0]))
    norm = known.module.get_submodule("norm").register_forward_hook(lambda m, i, o: mean_free.update(x=i[0]))
    with torch.no_grad():
        known.module(known.images)
    handle.remove()
    norm.remove()
    final = known.module.get_submodule("norm")
    std = (mean_free["x"][:, 0].var(-1, unbiased=False, keepdim=True) + final.eps).rsqrt()
    weight = block.get_submodule("attn.proj").weight
    for head in range(4):
        part = slice(12 * head, 12 * head + 12)
        expected = mean_free["z"][:, 0, part] @ weight[:, part].T * std * final.weight
        got = known.contributions.select(f"blocks.2.attn.head.{head}").total()
        assert (got - expected).abs().max() < 1e-13
