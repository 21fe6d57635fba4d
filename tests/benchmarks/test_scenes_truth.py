"""The benchmark of ground truth on scenes runs, and writes what it found."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from timm.models.vision_transformer import VisionTransformer

from vitdecomp.adapter import as_loaded
from vitdecomp.scenes import FACTORS

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "scenes_truth.py"


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("scenes_truth", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["scenes_truth"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["scenes_truth"]


def _small(patch: int) -> VisionTransformer:
    return VisionTransformer(img_size=64, patch_size=patch, embed_dim=24, depth=2, num_heads=3, num_classes=0).eval()


def test_the_benchmark_measures_every_factor(script: ModuleType, tmp_path: Path) -> None:
    settings = script.Settings(n=80, seed=0, split="test", k=2, localised=7)
    world = script.World.draw(settings)
    result = script.measure(as_loaded(_small(8)), world, settings)
    coarse = script.measure(as_loaded(_small(16)), world, settings)
    assert "localisation" not in coarse.figures
    assert coarse.notes == ["no localisation: 17 tokens are not a class token and 8 x 8 patches"]
    assert result.figures["error"] < 1e-4
    assert {name.split(",")[0] for name in result.figures["localisation"]} <= set(FACTORS)
    assert all(len(result.figures[part]) == len(FACTORS) for part in ("whole", "knowledge", "chosen"))
    assert len(result.sheets) == len(coarse.sheets) + 1 == 5

    script.write(tmp_path / "out", {"small": result}, settings)
    figures = json.loads((tmp_path / "out" / "scenes_truth.json").read_text())
    assert figures["models"]["small"]["causal"]["factors"] == list(FACTORS)
    text = (tmp_path / "out" / "scenes_truth.md").read_text()
    assert all(f"**{sheet.title}**" in text for sheet in result.sheets)


def test_options_are_json_or_text(script: ModuleType) -> None:
    assert script.parse("img_size=64") == ("img_size", 64)
    assert script.parse("name=a=b") == ("name", "a=b")
    with pytest.raises(script.SpecError, match=r"option 'depth' is not of the form name=value"):
        script.parse("depth")
