"""A head's basis is known where gates scale whole tokens, and not behind a gate that each channel has for itself."""

from __future__ import annotations

import json
from pathlib import Path

import known_bases as benchmark
import pytest
from third_party import WIDTH, EinopsViT
from torch import nn


def test_a_gate_per_channel_turns_a_heads_span(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tanh = lambda: nn.Sequential(EinopsViT(), nn.Linear(WIDTH, WIDTH), nn.Tanh())  # noqa: E731
    monkeypatch.setattr(benchmark, "FAMILIES", {"plain": (EinopsViT, 16), "tanh": (tanh, 16)})
    monkeypatch.setattr(benchmark, "FORMATS", {"float64": ("float64", "float16")})
    benchmark.main(n=benchmark.CHUNK, out=tmp_path)
    found = json.loads((tmp_path / "known_bases.json").read_text())["models"]["Small models, random weights"]["Heads"]
    told = {(row["family"], row["precision"]): row for row in found}
    heads = {
        family: {row["holds"] for (name, _), row in told.items() if name == family} for family in ("plain", "tanh")
    }
    assert heads == {"plain": {"6 of 6"}, "tanh": {"0 of 6"}}
    assert told["plain", "float64"]["rank, known"] == told["plain", "float16"]["rank, grown"] == "8"
    assert float(told["plain", "float64"]["outside, one"]) < 1e-13
    assert float(told["plain", "float16"]["loss, known"]) <= 5e-4
    assert float(told["tanh", "float64"]["outside, one"]) > 0.01
    assert float(told["tanh", "float64"]["outside, many"]) < 1e-13
