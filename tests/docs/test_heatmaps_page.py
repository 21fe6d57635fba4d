"""The Python of docs/heatmaps.md runs as it stands."""

import re
from pathlib import Path

import pytest
import torch

import vitdecomp as vd
from vitdecomp.heatmaps.explainer import EXPLAINERS

PAGE = (Path(__file__).parents[2] / "docs" / "heatmaps.md").read_text(encoding="utf-8")


def test_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope = {}
    try:
        for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
            exec(compile(block, "heatmaps.md", "exec"), scope)
        assert (tmp_path / "maps.png").stat().st_size > 0
        assert (tmp_path / "maps.safetensors").stat().st_size > 0
        flat = vd.explain(scope["model"], scope["images"], torch.ones(1, 128), "flat")
        assert float(flat.grid.std(dim=(-2, -1)).max()) == 0
    finally:
        EXPLAINERS.remove("flat")


@pytest.mark.parametrize("method", vd.explainers())
def test_every_method_is_defined(method):
    assert f"`{method}`" in PAGE
