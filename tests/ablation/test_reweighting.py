"""Spectral reweighting: the optimum of its objective, and a module with the same numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import pictures
from torch import Tensor

import vitdecomp as vd
from vitdecomp.ablation import LinearHead, SpectralReweighting
from vitdecomp.deploy.debiased import Debiased
from vitdecomp.units import PrincipalDirections


@pytest.fixture
def split(tiny_vit):
    """A model, contributions split into units, classes and a head that does not know them."""
    dec = vd.Decomposer(tiny_vit).fit(pictures(1, 32))
    c = dec.transform(pictures(24, 32, seed=2))
    directions = PrincipalDirections(k=2).fit(c).directions_
    source = torch.Generator().manual_seed(0)
    head = LinearHead(torch.randn(3, 48, generator=source), torch.randn(3, generator=source))
    return dec, directions, directions.transform(c), np.arange(24) % 3, head


def objective(scales: Tensor, c: vd.Contributions, labels: np.ndarray, head: LinearHead, strength: float) -> float:
    """The documented one, computed from the sum."""
    place = [i for i, one in enumerate(c.components) if not one.is_constant]
    values = c.values.clone()
    means = values[:, place].mean(0)
    values[:, place] = means + scales[:, None] * (values[:, place] - means)
    loss = torch.nn.functional.cross_entropy(head(values.sum(1)), torch.from_numpy(labels))
    return float(loss + (scales - 1).square().sum() / (2 * len(labels) * strength))


@pytest.mark.parametrize("strength", [0.1, 10.0])
def test_no_other_scales_are_better(split, strength):
    _, _, c, labels, head = split
    found = SpectralReweighting(strength=strength).fit(c, labels, head)
    best = objective(found.scales_, c, labels, head, strength)
    assert best < objective(torch.ones_like(found.scales_), c, labels, head, strength)
    for seed in range(10):
        away = torch.randn(found.scales_.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        assert objective(found.scales_ + 0.05 * away, c, labels, head, strength) > best


def test_a_strong_penalty_leaves_everything(split):
    _, _, c, labels, head = split
    found = SpectralReweighting(strength=1e-9).fit(c, labels, head)
    torch.testing.assert_close(found.transform(c).values, c.values, rtol=1e-4, atol=1e-5)
    assert found.components_ == tuple(one for one in c.components if not one.is_constant)


def test_the_module_scales_the_units(split, tmp_path):
    dec, directions, c, labels, head = split
    found = SpectralReweighting().fit(c, labels, head)
    module, x = vd.reweighted(dec, found, head, directions=directions), pictures(5, 32, seed=7)
    expected = head(found.transform(directions.transform(dec.transform(x))).total())
    torch.testing.assert_close(module(x), expected, rtol=0, atol=1e-4)  # directions are float32
    assert not torch.allclose(module(x), head(dec.represent(x)), atol=1e-2)
    module.save(tmp_path / "scaled.safetensors")
    assert torch.equal(Debiased.load(tmp_path / "scaled.safetensors")(x), module(x))


def test_what_is_refused(split):
    dec, directions, c, labels, head = split
    fitted, rests = SpectralReweighting().fit(c, labels, head), c.select("*.rest")
    for words, call in {
        "is not fitted yet": lambda: SpectralReweighting().transform(c),
        "strength must be positive": lambda: SpectralReweighting(strength=0.0).fit(c, labels, head),
        "labels must be 0 to 2": lambda: SpectralReweighting().fit(c, labels + 1, head),
        "23 labels for 24 images": lambda: SpectralReweighting().fit(c, labels[1:], head),
        "lack blocks.0.attn.head.0.dir.0": lambda: fitted.transform(rests),
        "is not fitted yet: call fit": lambda: vd.reweighted(dec, SpectralReweighting(), head, directions=directions),
    }.items():
        with pytest.raises((vd.SpecError, vd.InputError), match=words):
            call()
