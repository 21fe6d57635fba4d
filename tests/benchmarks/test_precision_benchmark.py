"""The benchmark of number formats, on one model and a few formats."""

from __future__ import annotations

from pathlib import Path

import precision
import pytest

FORMATS = ("float64", "float32", "autocast bfloat16")


def test_it_measures_what_a_format_costs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "FORMATS", {name: precision.FORMATS[name] for name in FORMATS})
    precision.main(["vit_avg"], 1, tmp_path)
    rows = [line.split(" | ") for line in (tmp_path / "precision.md").read_text().splitlines() if "vit_avg |" in line]
    assert [row[0].removeprefix("| ") for row in rows] == [*FORMATS, *["vit_avg"] * 3]
    rounded = [float(row[-1].removesuffix(" |")) for row in rows[:3]]
    assert rounded[0] == 0 < rounded[1] < 1e-5 < rounded[2]
