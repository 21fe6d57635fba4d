"""The benchmark of ground truth on scenes runs, and writes what it found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import scenes_truth
from sheets import write
from timm.models.vision_transformer import VisionTransformer

from vitdecomp.models.adapter import as_loaded
from vitdecomp.scenes import FACTORS


def _small(patch: int) -> VisionTransformer:
    return VisionTransformer(img_size=64, patch_size=patch, embed_dim=24, depth=2, num_heads=3, num_classes=0).eval()


def test_the_benchmark_measures_every_factor(tmp_path: Path) -> None:
    settings = scenes_truth.Settings(n=80, seed=0, split="test", k=2, localised=7)
    world = scenes_truth.World.draw(settings)
    result = scenes_truth.measure(as_loaded(_small(8)), world, settings)
    coarse = scenes_truth.measure(as_loaded(_small(16)), world, settings)
    assert "localisation" not in coarse.figures
    assert coarse.notes == ["no localisation: 17 tokens are not a class token and 8 x 8 patches"]
    assert result.figures["error"] < 1e-4
    assert {name.split(",")[0] for name in result.figures["localisation"]} <= set(FACTORS)
    assert all(len(result.figures[part]) == len(FACTORS) for part in ("whole", "knowledge", "chosen"))
    assert len(result.sheets) == len(coarse.sheets) + 1 == 5

    write(tmp_path / "out", "scenes_truth", ("Title", "Sentence."), vars(settings), {"small": result})
    figures = json.loads((tmp_path / "out" / "scenes_truth.json").read_text())
    assert figures["models"]["small"]["causal"]["factors"] == list(FACTORS)
    text = (tmp_path / "out" / "scenes_truth.md").read_text()
    assert all(f"**{sheet.title}**" in text for sheet in result.sheets)


def test_options_are_json_or_text() -> None:
    assert scenes_truth.parse("img_size=64") == ("img_size", 64)
    assert scenes_truth.parse("name=a=b") == ("name", "a=b")
    with pytest.raises(scenes_truth.SpecError, match=r"option 'depth' is not of the form name=value"):
        scenes_truth.parse("depth")
