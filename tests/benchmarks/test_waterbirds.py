"""The Waterbirds table: every row is a command that runs, and is kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
import waterbirds

ROWS = ["DeiT", "zero-shot CLIP, singular directions"]


@pytest.mark.slow
def test_rows_are_measured_once_and_stand_in_the_table(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    waterbirds.main(tmp_path, row=ROWS, n=48, seeds=1, scenes=True)
    files = {path.name for path in tmp_path.iterdir()}
    assert files == {"DeiT.json", "zero-shot-CLIP-singular-directions.json", "waterbirds.md"}
    page = (tmp_path / "waterbirds.md").read_text()
    told = json.loads((tmp_path / "DeiT.json").read_text())
    worst = " to ".join(f"{100 * told['summary'][when]['worst'][0]:.1f}" for when in ("before", "after"))
    assert f"| DeiT | scenes:deit | {worst} |" in page
    assert told["command"] in page
    assert "vitdecomp debias scenes:clip" in page
    assert "--directions singular:16" in page
    assert "published" not in page  # the published figures are of other models
    kept = {name: (tmp_path / name).stat().st_mtime_ns for name in files if name.endswith("json")}
    capfd.readouterr()
    waterbirds.main(tmp_path, row=ROWS, n=48, seeds=1, scenes=True)
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in kept} == kept
    assert "scoring" not in capfd.readouterr().err


def test_published_figures_stand_beside_real_rows(tmp_path: Path) -> None:
    figures = {"worst": [0.5, 0.0], "average": [0.75, 0.0]}
    kept = {"DINO": {"model": "timm:x", "summary": dict.fromkeys(("before", "after", "random"), figures)}}
    (row,) = waterbirds.table(kept, published=True).rows
    assert row == [
        "DINO",
        "timm:x",
        "50.0 to 50.0",
        "75.0 to 75.0",
        "50.0",
        "80.0 to 91.1",
        "90.0 to 93.8",
        "arXiv 2406.01583",
    ]
    words = waterbirds.Settings(Path("birds"), 100, 3).words(waterbirds.ROWS["DINO"])
    assert words[:2] == ["debias", "timm:vit_base_patch16_224.dino"]
    assert words[-2:] == ["--images", "birds"]


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in (
        ({}, "give --data FOLDER, or --scenes"),
        ({"scenes": True, "row": ["Deit"]}, "no row 'Deit'; there are: DeiT"),
    ):
        with pytest.raises(typer.Exit):
            waterbirds.main(tmp_path / "out", **words)
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_rows_have_names_that_files_may_have() -> None:
    assert not [name for name in waterbirds.ROWS if "/" in name]
