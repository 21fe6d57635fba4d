"""The Python of docs/how-to/other-inputs.md runs as it stands, and finds what it says that it finds."""

import re
from pathlib import Path

import pytest
import torch

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "other-inputs.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.mark.slow
def test_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope = {}
    for block in BLOCKS:
        exec(compile(block, "other-inputs.md", "exec"), scope)
    for kind in ("video", "sound", "volume"):
        assert (tmp_path / f"other-inputs-{kind}.png").stat().st_size > 0
    assert scope["maps"].grid.shape == (3, 1, 4, 4, 4)
    assert scope["heard"].grid.shape == (3, 1, 8, 8)
    assert scope["lumps"].values.shape == (3, 1, 16, 16, 16)
    at_flash = scope["maps"].grid.abs().flatten(2).argmax(2)[:, 0]
    videos = scope["videos"][:, :, [0, 2]].sum(2).unflatten(1, (4, 2)).mean(2)
    brightest = torch.nn.functional.avg_pool2d(videos, 8).flatten(1).argmax(1)
    assert torch.equal(at_flash, brightest)
