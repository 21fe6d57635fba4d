"""The Python of docs/precision.md runs as it stands, and its table promises what the code does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from vitdecomp._utils.tolerance import TOLERANCE

PAGE = (Path(__file__).parents[2] / "docs" / "precision.md").read_text(encoding="utf-8")


def test_the_page_runs() -> None:
    scope: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(block, "precision.md", "exec"), scope)
    assert scope["plain"].report_.exact


def test_the_table_has_the_tolerances_and_errors_below_them() -> None:
    rows = re.findall(r"^\| ([^|]*) \| (\de-\d+) \| ([^|]*) \|", PAGE, re.MULTILINE)
    assert len(rows) == 8
    for name, allowed, error in rows:
        (dtype,) = re.findall(r"b?float\d\d", name)
        assert float(allowed) == TOLERANCE[getattr(torch, dtype)]
        assert float(error) < float(allowed)
