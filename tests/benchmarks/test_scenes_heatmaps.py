"""The benchmark of heatmaps on scenes runs from one command, and its measures are those that it says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import scenes_heatmaps
import torch
from PIL import Image
from scenes_heatmaps import CEILING, OURS, Settings, World, estimate, methods, named

import vitdecomp as vd


@pytest.fixture
def few_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer runs of the model by the methods that have many."""
    cheap = {"integrated-gradients": {"steps": 4}, "occlusion": {"window": 16, "step": 16}}
    every = {label: (method, settings | cheap.get(method, {})) for label, (method, settings) in methods().items()}
    monkeypatch.setattr(scenes_heatmaps, "methods", lambda: every)


@pytest.mark.usefixtures("few_passes")
def test_one_command_writes_the_page(tmp_path: Path) -> None:
    scenes_heatmaps.main(["scenes:deit"], quick=True, out=tmp_path)
    told = json.loads((tmp_path / "heatmaps.json").read_text())
    measured = told["models"]["scenes:deit"]["methods"]
    assert set(measured) == {*vd.explainers(), scenes_heatmaps.TRUE, CEILING}
    precision = {label: measures["ap"][0] for label, measures in measured.items()}
    assert precision[CEILING] > 0.85
    assert precision[OURS] > max(precision[m] for m in ("legrad", "decompose", "chefer", "center")) + 0.03
    assert measured["center"]["named"] == measured["rollout"]["named"] == [0.5, 0.5, 0.5]
    assert told["models"]["scenes:deit"]["ahead"]["frozen"][0] == pytest.approx(precision[OURS] - precision["frozen"])
    page = (tmp_path / "heatmaps.md").read_text()
    assert page.index("## All models") < page.index("## scenes:deit")
    with Image.open(tmp_path / "heatmaps.png") as picture:
        assert picture.size[0] < 1200


def test_two_objects_are_both_asked_for() -> None:
    two = World.draw(Settings(8, (3,), 0), two=True)
    first, second = (torch.from_numpy(m).double() for m in (two.masks, two.others))
    assert all(a != b for a, b in zip(two.words, two.other_words, strict=True))
    assert named(torch.stack([first, second], 1), two).tolist() == [1.0] * len(two.words)
    assert named(torch.stack([second, first], 1), two).tolist() == [0.0] * len(two.words)
    assert named(torch.stack([first, first], 1), two).tolist() == [0.5] * len(two.words)


def test_an_interval_holds_the_mean() -> None:
    found = estimate(np.random.default_rng(1).normal(2.0, 1.0, 400))
    assert found.low < found.value < found.high
    assert found.high - found.low == pytest.approx(4 * 1.0 / 20, rel=0.15)
