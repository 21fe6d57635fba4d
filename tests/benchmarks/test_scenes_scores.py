"""The benchmark of scores measures every way of choosing."""

from __future__ import annotations

import pytest
import scenes_scores
import torch

import vitdecomp as vd


def test_every_choice_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    source = torch.Generator().manual_seed(0)
    labels = {name: torch.randint(0, 3, (120,), generator=source) for name in ("shape", "colour")}
    words = {name: torch.eye(8)[4 * i : 4 * i + 3] for i, name in enumerate(labels)}
    parts = [
        words[name][labels[name]] + 0.1 * torch.randn(120, 8, generator=source) for name in labels for _ in range(2)
    ]
    components = tuple(vd.Component(f"c{i}", "attn") for i in range(4))
    c = vd.Contributions(torch.stack(parts, 1), components, torch.zeros(120))
    scenes_scores.measure(c, words, {name: values.numpy() for name, values in labels.items()})
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows] == list(scenes_scores.CHOICES)
    precision = {row[0]: float(row[4]) for row in rows}
    assert min(precision.values()) > 0.95
    sizes = {row[0]: {int(size) for size in row[1].split("/")} for row in rows}
    assert sizes["margin, k"] == {3}
    assert max(sizes["margin, auto"] | sizes["agreement, auto"]) <= 2  # a third belongs to the other feature
