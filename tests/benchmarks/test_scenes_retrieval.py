"""The benchmark of searches within a feature measures them, and writes the page."""

from __future__ import annotations

import json
from pathlib import Path

import scenes_retrieval
from scenes_retrieval import KINDS, PLAIN, USUAL, WAYS


def test_one_command_writes_the_page(tmp_path: Path) -> None:
    scenes_retrieval.main(["scenes:deit"], n=100, queries=20, top=12, seed=3, out=tmp_path)
    told = json.loads((tmp_path / "search.json").read_text())
    features = told["models"]["scenes:deit"]["features"]
    assert {feature: list(ways) for feature, ways in features.items()} == {
        feature: list(WAYS) for feature in scenes_retrieval.FEATURES
    }
    mean = {way: sum(ways[way]["images"] for ways in features.values()) / 4 for way in WAYS}
    assert mean[USUAL] > mean[PLAIN] + 0.25
    page = (tmp_path / "search.md").read_text()
    assert "Precision of the ten nearest of 100 scenes (seed 3" in page
    assert page.index("## All models") < page.index("## scenes:deit")


def test_the_summary_counts_what_reaches_the_mark() -> None:
    def cell(plain: float, usual: float) -> dict[str, dict[str, float]]:
        return {way: dict.fromkeys(KINDS, usual if way == USUAL else plain) for way in WAYS}

    cells = {"shape": cell(0.5, 0.95), "colour": cell(0.7, 0.85), "location": cell(0.9, 1.0)}
    found = scenes_retrieval.summary({"a": scenes_retrieval.Result({"features": cells})}).figures
    assert found[f"images, {USUAL}"] == {"mean": (0.95 + 0.85 + 1.0) / 3, "high": 2, "more": [1, 2]}
    assert found[f"images, {PLAIN}"]["high"] == 1
