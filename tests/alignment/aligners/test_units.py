"""Units have the maps of their components."""

from __future__ import annotations

import pytest
import torch
from vitdecomp_alignment import ClosedForm

import vitdecomp as vd
from vitdecomp.sources.aligned import Aligned
from vitdecomp.testing import AlignerContract
from vitdecomp.units import PrincipalDirections, SplitSource


@pytest.mark.parametrize("prior", ["shared", "own"])
def test_units_map_to_parts_of_their_component(prior: str) -> None:
    contract = AlignerContract()
    c = contract.contributions(60)
    aligner = ClosedForm(prior=prior).fit(c, contract.target(c))
    directions = PrincipalDirections(k=2).fit(c).directions_
    whole, units = aligner.transform(c), aligner.split(directions)
    split = units.transform(directions.transform(c))
    for component in c.components:
        own = [i for i, unit in enumerate(directions.units) if unit.parent == component]
        assert torch.allclose(split.values[:, own].sum(1), whole[component], atol=1e-4)
        for i in own:
            unit = directions.units[i].component
            expected = directions.transform(c)[unit] @ aligner.restricted(component)
            assert torch.allclose(split.values[:, i], expected, atol=1e-4)
            assert torch.allclose(directions.transform(c)[unit] @ units.restricted(unit), expected, atol=1e-4)
    source = Aligned(SplitSource(c, directions), units)
    assert torch.allclose(source.take([3]).total(), whole.take([3]).total(), atol=1e-4)


def test_directions_of_other_components_are_refused() -> None:
    contract = AlignerContract()
    c = contract.contributions(60)
    aligner = ClosedForm().fit(c, contract.target(c))
    other = PrincipalDirections(k=1).fit(c.select(c.components[0].name)).directions_
    with pytest.raises(vd.InputError, match="other components"):
        aligner.split(other)
