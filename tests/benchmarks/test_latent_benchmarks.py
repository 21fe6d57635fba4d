"""Latent tokens on scenes, and what they cost: one small real run each."""

from __future__ import annotations

import json
from pathlib import Path

import latent_scenes
import latent_time
import pytest
import typer
from typer.testing import CliRunner


def test_tokens_name_what_lies_under_them(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(latent_scenes.main)
    result = CliRunner().invoke(app, ["--quick", "--model", "scenes:clip", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    (found,) = json.loads((tmp_path / "latent.json").read_text())["models"].values()
    assert found["right"]["location"][-1][0] > 0.9
    assert max(shuffled for _, shuffled in found["right"]["location"]) < 0.4
    assert found["drift"][-1] == pytest.approx(0, abs=1e-6)
    assert "| the model's own |" in (tmp_path / "latent.md").read_text()


def test_the_slow_way_is_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(latent_time, "VIT", "timm:test_vit")
    app = typer.Typer()
    app.command()(latent_time.main)
    result = CliRunner().invoke(app, ["--quick", "--batch", "1", "--threads", "1", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    (found,) = json.loads((tmp_path / "latent_time.json").read_text())["models"].values()
    assert {"plain", "all 7 layers", "one run for each layer, by hand"} <= set(found)
