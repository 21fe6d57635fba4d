"""A decomposer that splits into units: what it gives is what directions make of its heads."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from helpers import randomised
from third_party import EinopsViT
from torch import Tensor

import vitdecomp as vd
from vitdecomp.units import AskedDirections, Directions, PrincipalDirections, SingularDirections
from vitdecomp.units.directions_file import FORMAT, SCHEMA, STRENGTHS, DirectionsHeader, as_tensors


def images(n: int, seed: int = 0) -> Tensor:
    return torch.rand(n, 3, 16, 16, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    return randomised(EinopsViT())


@pytest.fixture(scope="module")
def heads(model: torch.nn.Module) -> vd.Decomposer:
    return vd.Decomposer(model).fit(images(12))


@pytest.fixture(scope="module", params=["principal:3", "singular:3"])
def units(request: pytest.FixtureRequest, model: torch.nn.Module) -> vd.Decomposer:
    return vd.Decomposer(model, by=request.param).fit(images(12))


def directions_of(decomposer: vd.Decomposer) -> Directions:
    assert decomposer.directions_ is not None
    return decomposer.directions_


class TestDecomposer:
    def test_it_splits_what_heads_contribute(self, units: vd.Decomposer, heads: vd.Decomposer) -> None:
        c, whole = units.transform(images(5, 1)), heads.transform(images(5, 1))
        assert c.components == units.components_ == units.components_of(units.by)
        assert torch.allclose(c.values, directions_of(units).transform(whole).values)
        assert torch.allclose(c.total(), units.represent(images(5, 1)))
        assert any(one.name == "layers.1.0.head.1.dir.2" for one in c.components)

    def test_directions_are_those_of_the_estimators(self, model: torch.nn.Module, heads: vd.Decomposer) -> None:
        principal = PrincipalDirections(4).fit(heads.transform(images(12))).directions_
        singular = SingularDirections(4).fit(heads, images(1)).directions_
        for by, expected in (("principal", principal), ("singular", singular)):
            found = directions_of(vd.Decomposer(model, by=by).fit(images(12)))
            assert {*found.bases} == {*expected.bases}
            for component, basis in expected.bases.items():
                assert torch.allclose(found.bases[component] @ basis.T, torch.eye(len(basis)), atol=1e-4) or (
                    torch.allclose((found.bases[component] * basis).sum(1).abs(), torch.ones(len(basis)), atol=1e-4)
                )

    def test_products_are_those_of_the_contributions(self, units: vd.Decomposer) -> None:
        x = images(3, 2)
        q = torch.randn(2, units.report_.dimension, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        c = units.transform(x)
        products = units.attribute(x, q)
        assert torch.allclose(products, torch.einsum("qd,nkd->nqk", q, c.values))
        each = units.attribute_each(x, q, ["block", units.by, "head"])
        assert torch.allclose(each[1], products)
        assert torch.allclose(each[0].sum(2), products.sum(2))
        assert torch.allclose(each[2].sum(2), products.sum(2))

    def test_given_directions_split_at_once_and_for_once(self, units: vd.Decomposer, heads: vd.Decomposer) -> None:
        given = directions_of(units)
        own = vd.Decomposer(heads.model, by=given).fit(images(1))
        expected = units.transform(images(2)).values
        assert torch.allclose(own.transform(images(2)).values, expected)
        assert torch.allclose(heads.transform(images(2), by=given).values, expected)
        assert heads.transform(images(2)).components == heads.components_

    def test_a_file_and_a_copy_give_the_same(self, units: vd.Decomposer, tmp_path: Path) -> None:
        expected = units.transform(images(3))
        units.save(tmp_path / "units.safetensors")
        read = vd.Decomposer.load(tmp_path / "units.safetensors", units.model)
        for other in (read, deepcopy(units)):
            assert (other.by, other.components_) == (units.by, units.components_)
            assert torch.allclose(other.transform(images(3)).values, expected.values)

    def test_a_file_keeps_given_directions(self, units: vd.Decomposer, tmp_path: Path) -> None:
        own = vd.Decomposer(units.model, by=directions_of(units)).fit(images(1))
        own.save(tmp_path / "own.safetensors")
        read = vd.Decomposer.load(tmp_path / "own.safetensors", units.model)
        assert isinstance(read.by, Directions)
        assert torch.allclose(read.transform(images(2)).values, units.transform(images(2)).values)

    def test_bad_input(self, units: vd.Decomposer, heads: vd.Decomposer, model: torch.nn.Module) -> None:
        with pytest.raises(vd.SpecError, match=r"`fit` finds directions, of Decomposer\(..., by='singular:7'\)"):
            units.transform(images(1), by="singular:7")
        with pytest.raises(vd.SpecError, match="`fit` finds directions"):
            heads.components_of("principal")
        with pytest.raises(vd.SpecError, match="not fitted yet"):
            vd.Decomposer(model, by="singular").transform(images(1))
        with pytest.raises(vd.SpecError, match="give a number K"):
            vd.Decomposer(model, by="singular:many")
        with pytest.raises(vd.InputError, match="two images at least"):
            vd.Decomposer(model, by="principal").fit(images(1))
        with pytest.raises(vd.SpecError, match="units are parts of components"):
            units.subset(units.components_[:1])
        foreign = PrincipalDirections(1).fit(heads.transform(images(3)).select("layers.1.*")).directions_
        with pytest.raises(vd.InputError, match="other components"):
            vd.Decomposer(model, by=foreign).fit(images(1))

    def test_none_of_each_is_by_head(self, model: torch.nn.Module) -> None:
        assert vd.Decomposer(model, by="principal:0").by == "head"
        assert vd.Decomposer(model, by=AskedDirections("singular")).by == AskedDirections("singular", 4)


class TestFile:
    def test_directions_come_back(self, units: vd.Decomposer, tmp_path: Path) -> None:
        given = directions_of(units)
        given.save(tmp_path / "d.safetensors")
        read = Directions.load(tmp_path / "d.safetensors")
        assert read.components == given.components
        assert {*read.bases} == {*given.bases} == {*read.strengths}
        for component, basis in given.bases.items():
            assert torch.equal(read.bases[component], basis)
            assert torch.equal(read.strengths[component], given.strengths[component])

    def test_none_at_all_come_back_too(self, heads: vd.Decomposer, tmp_path: Path) -> None:
        Directions(heads.components_, {}, {}).save(tmp_path / "d.safetensors")
        assert Directions.load(tmp_path / "d.safetensors").bases == {}

    def test_bad_files(self, units: vd.Decomposer, tmp_path: Path) -> None:
        with pytest.raises(vd.InputError, match=r"nothing\.safetensors"):
            Directions.load(tmp_path / "nothing.safetensors")
        units.save(tmp_path / "decomposer.safetensors")
        with pytest.raises(vd.InputError, match="directions"):
            Directions.load(tmp_path / "decomposer.safetensors")
        given = directions_of(units)
        crooked = Directions(given.components, {c: 2 * b for c, b in given.bases.items()}, given.strengths)
        crooked.save(tmp_path / "crooked.safetensors")
        with pytest.raises(vd.InputError, match="are not orthonormal; find the directions again"):
            Directions.load(tmp_path / "crooked.safetensors")
        tensors = as_tensors(given)
        short = {**tensors, STRENGTHS: tensors[STRENGTHS][1:]}
        FORMAT.write(tmp_path / "short.safetensors", DirectionsHeader(SCHEMA, given.components), short)
        with pytest.raises(vd.InputError, match="do not fit together"):
            Directions.load(tmp_path / "short.safetensors")
