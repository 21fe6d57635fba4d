"""The costs of heatmaps: one real run of a small model, and what is printed in bold."""

from __future__ import annotations

import json
from pathlib import Path

import heatmaps_time
import typer
from timing import Row
from typer.testing import CliRunner


def test_a_small_run_writes_every_method(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(heatmaps_time.main)
    result = CliRunner().invoke(app, ["--quick", "--batch", "1", "--threads", "1", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    (found,) = json.loads((tmp_path / "heatmaps_time.json").read_text())["models"].values()
    assert set(found["time"]) == {"plain", *heatmaps_time.TASKS}
    assert all(row["ratio"] and not row["why"] for row in found["time"].values())
    assert "| decompose |" in (tmp_path / "heatmaps_time.md").read_text()


def test_what_is_above_its_limit_is_bold() -> None:
    task = heatmaps_time.TASKS["decompose"]
    row = Row("decompose", 8, (2.0,), ratio=1.3)
    line = heatmaps_time._line("decompose", row, task, heatmaps_time.VIT, {"plain": 10, "decompose": 20})
    assert line == ["decompose", "**1.30**", "1.2", "4.0", "2.00", "3"]
