"""The Python of docs/latent.md runs as it stands."""

import re
from pathlib import Path

import torch

PAGE = (Path(__file__).parents[2] / "docs" / "latent.md").read_text(encoding="utf-8")


def test_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope = {}
    torch.manual_seed(0)
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(block, "latent.md", "exec"), scope)
    assert (tmp_path / "edited.safetensors").stat().st_size > 0
    assert len(scope["found"].words(0, 3, 5)) == 2
