"""Names of directions are judged by factors: planted ones are found, and an agreement is what it says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from directions_naming import agreed, explained, factors_of

import vitdecomp as vd
from vitdecomp.component import Component
from vitdecomp.units import Directions


def test_a_planted_factor_explains_the_direction_that_shows_it() -> None:
    source = np.random.default_rng(0)
    labels = {"color": source.integers(0, 3, 400), "shape": source.integers(0, 4, 400)}
    noise = torch.randn(400, 1, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values = 0.1 * noise
    values[:, 0, 0] += torch.from_numpy(labels["color"])
    values[:, 0, 1] += torch.from_numpy(labels["shape"])
    c = vd.Contributions(values, (Component("a", "mlp"),), torch.zeros(400, dtype=torch.float64))
    basis = torch.eye(4, dtype=torch.float64)[:3]
    directions = Directions(c.components, {c.components[0]: basis}, {c.components[0]: torch.ones(3)})
    found = {unit.name: factor for unit, factor in factors_of(c, directions, labels).items()}
    assert found == {"a.dir.0": "color", "a.dir.1": "shape"}  # the third is noise
    shares = explained(values[:, 0, 0], labels)
    assert shares["color"] > 0.95
    assert shares["shape"] < 0.05


def test_agreement_takes_chance_off() -> None:
    all_right = agreed([("color", "color"), ("shape", "shape")])
    assert (all_right.components, all_right.rate, all_right.kappa) == (2, 1.0, 1.0)
    always_the_same = agreed([("color", "color"), ("color", "shape")])
    assert always_the_same.kappa == pytest.approx(0.0)
    assert agreed([]).components == 0
