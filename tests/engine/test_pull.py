"""Directions pulled together are those pulled one by one, in sweeps of any size."""

from __future__ import annotations

import pytest
import torch
from families import case, grouped

from vitdecomp.engine import pull as module
from vitdecomp.engine.pull import pull, pull_together

KINDS = ("vit_cls", "swin", "siglip", "third_party/windows")


@pytest.mark.parametrize("room", [2**27, 1], ids=["together", "one at a time"])
@pytest.mark.parametrize("name", grouped(KINDS))
def test_together_is_one_by_one(name: str, room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    known = case(name)
    paths, _ = known.decomposer.views.of("token")
    representation, recorded = paths.recorder(known.images)
    q = torch.randn(5, *representation.shape, dtype=torch.float64)
    monkeypatch.setattr(module, "ROOM", room)
    sweeps = [*pull_together(paths.graph, recorded, q)]
    assert len(sweeps) == (5 if room == 1 else 1)
    for i, adjoints in enumerate(pull(paths.graph, recorded, q)):
        for leaf, adjoint in adjoints.items():
            found = torch.cat([sweep[leaf] for sweep in sweeps])[i]
            torch.testing.assert_close(found, adjoint, rtol=1e-12, atol=1e-12)
