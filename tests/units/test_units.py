"""Units: exact sums, principal and singular directions against the obvious way, stores like memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import randomised
from made_up import write_made
from third_party import WIDTH, EinopsViT
from torch import Tensor

import vitdecomp as vd
from vitdecomp.component import Component
from vitdecomp.units import PrincipalDirections, SingularDirections, SplitSource


@pytest.fixture(scope="module")
def decomposer() -> vd.Decomposer:
    return vd.Decomposer("scenes:deit").fit(scenes(1))


def scenes(n: int, seed: int = 0) -> Tensor:
    return torch.rand(n, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def c(decomposer: vd.Decomposer) -> vd.Contributions:
    return decomposer.transform(scenes(24))


class TestDirections:
    def test_the_sum_stays_and_units_add_up_to_their_component(self, c: vd.Contributions) -> None:
        directions = PrincipalDirections(k=3).fit(c).directions_
        split = directions.transform(c)
        assert torch.allclose(split.total(), c.total(), atol=1e-5)
        for component in c.components:
            own = [i for i, unit in enumerate(directions.units) if unit.parent == component]
            assert torch.allclose(split.values[:, own].sum(1), c[component], atol=1e-5)
            assert len(own) == (1 if component.is_constant else 4)

    def test_units_are_named_and_keep_their_head(self, c: vd.Contributions) -> None:
        split = PrincipalDirections(k=2).fit(c).transform(c)
        names = [one.name for one in split.components]
        assert len(set(names)) == len(names)
        unit = next(one for one in split.components if one.name == "blocks.3.attn.head.5.dir.1")
        assert (unit.kind, unit.head, unit.block) == ("attn", 5, "blocks.3")
        assert "blocks.3.attn.head.5.rest" in names

    def test_a_unit_is_its_projection(self, c: vd.Contributions) -> None:
        directions = PrincipalDirections(k=2).fit(c).directions_
        component = next(one for one in c.components if one.name == "blocks.2.mlp")
        u = directions.bases[component][1]
        split = directions.transform(c)
        assert torch.allclose(split["blocks.2.mlp.dir.1"], torch.outer(c[component] @ u, u), atol=1e-5)

    def test_random_directions_are_orthonormal_and_as_many(self, c: vd.Contributions) -> None:
        directions = PrincipalDirections(k=3).fit(c).directions_
        drawn = directions.random(0)
        for component, basis in drawn.bases.items():
            assert basis.shape == directions.bases[component].shape
            assert torch.allclose(basis @ basis.T, torch.eye(len(basis)), atol=1e-5)
        assert torch.allclose(drawn.transform(c).total(), c.total(), atol=1e-5)

    def test_receivers_of_biases_are_units(self, c: vd.Contributions) -> None:
        split = PrincipalDirections(k=1).fit(c).transform(c)
        for constant, several in split.bias_receivers.items():
            assert constant in split.components
            assert {*several} <= {*split.components}

    def test_other_components_are_refused(self, c: vd.Contributions) -> None:
        directions = PrincipalDirections(k=1).fit(c.select("blocks.1.*")).directions_
        with pytest.raises(vd.InputError, match="found for other components than these"):
            directions.transform(c)


class TestPrincipal:
    def test_directions_are_those_of_a_singular_value_decomposition(self, c: vd.Contributions) -> None:
        directions = PrincipalDirections(k=3).fit(c).directions_
        for component in directions.components:
            if component.is_constant:
                assert component not in directions.bases
                continue
            centered = (c[component] - c[component].mean(0)).double()
            _, scale, rows = torch.linalg.svd(centered, full_matrices=False)
            cosines = (directions.bases[component].double() * rows[:3]).sum(1).abs()
            assert torch.allclose(cosines, torch.ones(3, dtype=torch.float64), atol=1e-3)
            assert torch.allclose(directions.strengths[component], scale[:3].square() / (len(c) - 1), rtol=1e-3)

    def test_a_component_of_lower_rank_has_fewer(self) -> None:
        source = torch.Generator().manual_seed(0)
        values = torch.randn(30, 1, 2, generator=source) @ torch.randn(2, 8, generator=source)
        c = vd.Contributions(values, (Component("a", "mlp"),), torch.zeros(30))
        assert len(PrincipalDirections(k=5).fit(c).directions_.bases[c.components[0]]) == 2

    def test_a_store_gives_the_same_as_memory(self, c: vd.Contributions, tmp_path: Path) -> None:
        store = vd.Store(write_made(tmp_path / "c.lance", c))
        directions = PrincipalDirections(k=2).fit(store).directions_
        whole = PrincipalDirections(k=2).fit(c).directions_
        for component, basis in whole.bases.items():
            assert torch.allclose(directions.strengths[component], whole.strengths[component], rtol=0.02)
            assert float((directions.bases[component] * basis).sum(1).abs()[0]) > 0.99

    def test_bad_input(self, c: vd.Contributions) -> None:
        with pytest.raises(vd.SpecError, match="k must be 1 or more"):
            PrincipalDirections(k=0).fit(c)
        with pytest.raises(vd.InputError, match="two images at least"):
            PrincipalDirections().fit(c.take([0]))
        with pytest.raises(vd.SpecError, match="not fitted yet"):
            PrincipalDirections().transform(c)


class TestSplitSource:
    def test_columns_are_what_take_gives(self, c: vd.Contributions) -> None:
        directions = PrincipalDirections(k=2).fit(c).directions_
        split = SplitSource(c, directions)
        whole = split.take(range(len(c)))
        assert split.components == whole.components
        for component in split.components:
            basis, rows = split.basis(component), range(3, 9)
            a = split.coefficients(component, rows)
            values = a if basis is None else a @ basis.T
            assert torch.allclose(values, whole[component][3:9], atol=1e-5)

    def test_fingerprints_tell_directions_apart(self, c: vd.Contributions) -> None:
        directions = PrincipalDirections(k=2).fit(c).directions_
        first, second = SplitSource(c, directions), SplitSource(c, directions.random(0))
        assert first.fingerprint() != second.fingerprint()
        assert first.fingerprint() == SplitSource(c, directions).fingerprint()


class TestSingular:
    @pytest.mark.parametrize("spec", ["scenes:deit", "scenes:swin", "scenes:maxvit"])
    def test_contributions_of_random_channels_spread_along_them(self, spec: str) -> None:
        """Unit noise in a component's channels is seen by two directions far better than by two at random."""
        size = 64
        image = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
        decomposer = vd.Decomposer(spec).fit(image)
        directions = SingularDirections(k=2).fit(decomposer, image).directions_
        named = {c.name: basis for c, basis in directions.bases.items()}
        paths, components = decomposer.views.of("neuron")
        recorder = decomposer.views.recorder(paths.recorder.gates)
        _, recorded = recorder(image)
        with torch.no_grad():
            for partition in [p for p in components.partitions if p.part.who.kind in {"attn", "mlp"}][::5]:
                gate = paths.graph.leaves[partition.part.leaf].value
                source = torch.Generator().manual_seed(1)
                drawn = []
                for _ in range(60):
                    noise = torch.randn(recorded[gate].shape, generator=source)
                    drawn.append(
                        components.pushed(
                            {**recorded, gate: noise},
                            1,
                            torch.zeros(1, decomposer.report_.dimension),
                            {*partition.rows},
                        )
                    )
                values = torch.cat(drawn)
                values = values[:, list(partition.rows)].unflatten(1, (partition.heads, -1)).sum(2)
                for head, component in enumerate(components.rows_of(partition)[:2]):
                    own = values[:, head]
                    basis = named[component.name]
                    seen = float((own @ basis.T).square().sum() / own.square().sum())
                    assert seen > 1.3 * 2 / own.shape[1]

    @pytest.mark.parametrize("place", ["attn", "mlp"])
    def test_directions_are_singular_vectors_of_the_map_written_out(
        self, place: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One column for every channel of every token: what one unit there contributes."""
        monkeypatch.setattr("vitdecomp.units.singular.TOKENS", 1000)
        model, image = randomised(EinopsViT()), torch.rand(1, 3, 16, 16, dtype=torch.float64)
        decomposer = vd.Decomposer(model).fit(image)
        directions = SingularDirections(k=3).fit(decomposer, image).directions_
        paths, components = decomposer.views.of("neuron")
        _, recorded = decomposer.views.recorder(paths.recorder.gates)(image)
        partition = [p for p in components.partitions if p.part.who.kind == place][-1]
        gate = paths.graph.leaves[partition.part.leaf].value
        rows = [*partition.rows][: len(partition.rows) // partition.heads]
        one, square = torch.zeros_like(recorded[gate]), torch.zeros(WIDTH, WIDTH, dtype=torch.float64)
        with torch.no_grad():
            for i in range(one.numel()):
                one.view(-1)[i] = 1
                column = components.pushed({**recorded, gate: one}, 1, one.new_zeros(1, WIDTH), {*rows})[0, rows].sum(0)
                square += torch.outer(column, column)
                one.view(-1)[i] = 0
        values, vectors = torch.linalg.eigh(square)
        component = next(c for c in directions.components if c.name == components.rows_of(partition)[0].name)
        assert torch.allclose(directions.strengths[component], values.flip(0)[:3].sqrt(), rtol=1e-6)
        cosines = (directions.bases[component].double() * vectors.flip(1)[:, :3].T).sum(1).abs()
        assert torch.allclose(cosines, torch.ones(3, dtype=torch.float64), atol=1e-4)

    def test_no_image_counts_beside_its_gates(self, decomposer: vd.Decomposer) -> None:
        """The gates of two images of noise differ little, and so do the directions."""
        first, second = (SingularDirections(k=1).fit(decomposer, scenes(1, seed)).directions_ for seed in (1, 2))
        cosines = [float((first.bases[c] * second.bases[c]).sum().abs()) for c in first.bases]
        assert min(cosines) > 0.9

    def test_bad_input(self, decomposer: vd.Decomposer, c: vd.Contributions) -> None:
        with pytest.raises(vd.SpecError, match="k must be 1 or more"):
            SingularDirections(k=0).fit(decomposer, scenes(1))
        with pytest.raises(vd.SpecError, match="not fitted yet"):
            SingularDirections().transform(c)
        with pytest.raises(vd.InputError, match="was fitted on"):
            SingularDirections().fit(decomposer, torch.rand(1, 3, 32, 32))
