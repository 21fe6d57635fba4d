"""The benchmark of scores measures every way of choosing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import scenes_scores
import torch
from vitdecomp_alignment.texts import scene_features

import vitdecomp as vd


def test_every_choice_is_measured() -> None:
    source = torch.Generator().manual_seed(0)
    labels = {name: torch.randint(0, 3, (120,), generator=source) for name in ("shape", "colour")}
    words = {name: torch.eye(8)[4 * i : 4 * i + 3] for i, name in enumerate(labels)}
    parts = [
        words[name][labels[name]] + 0.1 * torch.randn(120, 8, generator=source) for name in labels for _ in range(2)
    ]
    components = tuple(vd.Component(f"c{i}", "attn") for i in range(4))
    c = vd.Contributions(torch.stack(parts, 1), components, torch.zeros(120))
    result = scenes_scores.measure(c, words, {name: values.numpy() for name, values in labels.items()})
    figures = result.figures
    assert list(figures) == [row[0] for row in result.sheets[0].rows] == list(scenes_scores.CHOICES)
    assert min(min(one["precision"].values()) for one in figures.values()) > 0.95
    assert figures["margin, k"]["sizes"] == [3]
    assert max(figures["margin, auto"]["sizes"] + figures["agreement, auto"]["sizes"]) <= 2  # the rest is not theirs


def test_one_command_writes_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/somewhere/scenes_scores.py", "-n", "120", "--out", "a b"])
    scenes_scores.main(["scenes:deit"], n=120, seed=3, out=tmp_path)
    told = json.loads((tmp_path / "scores.json").read_text())
    assert told["settings"] == {"n": 120, "seed": 3, "prior": "shared"}
    assert {name: list(told["models"]["scenes:deit"][name]["precision"]) for name in scenes_scores.CHOICES} == {
        name: list(scene_features()) for name in scenes_scores.CHOICES
    }
    page = (tmp_path / "scores.md").read_text()
    assert "Made by `python benchmarks/scenes_scores.py -n 120 --out 'a b'`, with 1 thread." in page
    assert page.index("## All models") < page.index("## scenes:deit")
