"""Contributions: sums, selections, groups, and biases spread as in the papers."""

from __future__ import annotations

import pytest
import torch

import vitdecomp as vd
from vitdecomp import Component, Contributions, InputError, SpecError
from vitdecomp.sources.source import Columns

PARTS = (
    Component("embed", "embed"),
    Component("b.0.attn.head.0", "attn", "b.0", "b.0.attn", head=0),
    Component("b.0.attn.head.1", "attn", "b.0", "b.0.attn", head=1),
    Component("b.0.mlp", "mlp", "b.0", "b.0.mlp"),
    Component("bias.b.0.attn.proj", "const", module="b.0.attn.proj"),
    Component("bias.norm", "const", module="norm"),
)


@pytest.fixture
def contributions() -> Contributions:
    values = torch.randn(5, len(PARTS), 7, dtype=torch.float64)
    shares = {PARTS[4]: PARTS[1:3], PARTS[5]: PARTS[:4]}
    return Contributions(values, PARTS, torch.zeros(5, dtype=torch.float64), shares)


def test_total_is_the_sum(contributions: Contributions) -> None:
    assert torch.equal(contributions.total(), contributions.values.sum(1))
    assert len(contributions) == 5


def test_select_keeps_order_and_values(contributions: Contributions) -> None:
    heads = contributions.select("b.0.attn.*")
    assert heads.components == PARTS[1:3]
    assert torch.equal(heads.values, contributions.values[:, 1:3])
    assert contributions.select(lambda c: c.is_constant).components == PARTS[4:]


def test_select_of_nothing_says_what_names_look_like(contributions: Contributions) -> None:
    with pytest.raises(SpecError, match=r"no component matches 'blocks\.\*'; names look like embed"):
        contributions.select("blocks.*")


@pytest.mark.parametrize(("key", "groups"), [("block", 4), ("module", 5), ("kind", 4)])
def test_groups_keep_the_total(contributions: Contributions, key: str, groups: int) -> None:
    grouped = contributions.groupby(key)
    assert len(grouped.components) == groups
    assert torch.allclose(grouped.total(), contributions.total())


def test_a_block_is_the_sum_of_its_parts_without_biases(contributions: Contributions) -> None:
    block = contributions.groupby("block").select("b.0")
    assert block.components[0].block == "b.0"
    assert torch.allclose(block.values[:, 0], contributions.values[:, 1:4].sum(1))


def test_grouping_twice_is_grouping_once(contributions: Contributions) -> None:
    once = contributions.groupby("kind")
    assert torch.equal(once.groupby("kind").values, once.values)


def test_unknown_group(contributions: Contributions) -> None:
    with pytest.raises(SpecError, match="cannot group by 'layer'; choose one of block, module, kind"):
        contributions.groupby("layer")


def test_spread_biases(contributions: Contributions) -> None:
    spread = contributions.spread_biases()
    assert spread.components == PARTS[:4]
    v = contributions.values
    expected = v[:, 1] + v[:, 4] / 2 + v[:, 5] / 4
    assert torch.allclose(spread.values[:, 1], expected)
    assert torch.allclose(spread.total(), contributions.total())
    assert spread.spread_biases().components == spread.components  # nothing is left to spread


def test_spread_biases_creates_an_embedding_for_what_joins_first(contributions: Contributions) -> None:
    token = Component("const.cls_token", "const")
    components = (*PARTS[1:], token)
    shares = {token: (PARTS[0],), PARTS[5]: PARTS[:4]}
    spread = Contributions(contributions.values, components, contributions.error, shares).spread_biases()
    assert PARTS[0] in spread.components
    assert torch.allclose(spread.total(), contributions.total())


def test_values_must_fit_the_components() -> None:
    with pytest.raises(InputError, match=r"values of shape \(n, 6, d\)"):
        Contributions(torch.zeros(2, 5, 3), PARTS, torch.zeros(2))


def test_columns_are_contributions_component_by_component(contributions: Contributions) -> None:
    c = contributions
    for i, component in enumerate(c.components):
        assert c.basis(component) is None
        assert torch.equal(c.coefficients(component, range(1, 3)), c.values[1:3, i])
    assert isinstance(c, Columns)


def test_an_unknown_column_is_refused(contributions: Contributions) -> None:
    with pytest.raises(SpecError, match="there is no component other; names look like"):
        contributions.coefficients(Component("other", "mlp"), range(1))


def test_batches_are_joined_in_order():
    parts = [torch.randn(n, 2, 3) for n in (2, 1, 4)]
    names = tuple(vd.Component(f"c{i}", "mlp") for i in range(2))
    batches = [vd.Contributions(part, names, torch.arange(len(part), dtype=torch.float64)) for part in parts]
    whole = vd.Contributions.joined(batches)
    assert torch.equal(whole.values, torch.cat(parts))
    assert whole.error.tolist() == [0, 1, 0, 0, 1, 2, 3]
    assert whole.components == names
    others = vd.Contributions(parts[0], names[::-1], batches[0].error)
    for wrong in ([], [batches[0], others]):
        with pytest.raises(vd.InputError, match="same components"):
            vd.Contributions.joined(wrong)


def test_a_component_is_had_by_its_name(contributions: Contributions) -> None:
    assert torch.equal(contributions["b.0.mlp"], contributions.values[:, 3])
    assert torch.equal(contributions[PARTS[4]], contributions.values[:, 4])
    with pytest.raises(SpecError, match=r"no component 'b\.0\.mpl'; did you mean b\.0\.mlp"):
        contributions["b.0.mpl"]
    with pytest.raises(SpecError, match="names look like embed"):
        contributions["zzz"]


def test_a_data_frame_has_a_row_for_each_image_and_component(contributions: Contributions) -> None:
    frame = contributions.to_dataframe()
    assert [*frame["image"]] == [i for i in range(5) for _ in PARTS]
    assert [*frame["component"]] == [c.name for c in PARTS] * 5
    row = frame[(frame["image"] == 3) & (frame["component"] == "b.0.attn.head.1")].iloc[0]
    assert (row["kind"], row["block"], row["head"]) == ("attn", "b.0", 1)
    assert row["norm"] == pytest.approx(float(contributions.values[3, 2].norm()))
    total = contributions.total()[3]
    assert row["share"] == pytest.approx(float(contributions.values[3, 2] @ total / (total @ total)))
    assert frame.groupby("image")["share"].sum().to_numpy() == pytest.approx(1)


def test_contributions_print_as_a_few_lines(contributions: Contributions) -> None:
    lines = repr(contributions).splitlines()
    assert lines[0] == "Contributions: 5 images, 6 components, 7 dimensions, float64"
    assert "1 embed, 2 attn, 1 mlp, 2 const" in lines[1]
    assert str(contributions) == repr(contributions)
    assert len(repr(contributions.take([])).splitlines()) <= 6
    assert "tensor(" not in repr(contributions)
