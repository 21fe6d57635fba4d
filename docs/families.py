"""Write the table of supported families into docs/families.md: `python docs/families.py` (two minutes on two cores).

Every row is a small member of a family, made of the library's own classes as the tests use them (tests/zoo.py),
with random weights and all parameters moved, decomposed in float64.
"""

from __future__ import annotations

import re
import sys
import warnings
from pathlib import Path

import torch
from rich.progress import track

import vitdecomp as vd

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- families:begin -->", "<!-- families:end -->"
HEADER = """| family | components | attentions | heads | opened gates | coverage | error |
|---|---:|---:|---|---:|---|---:|
"""


def row(name: str) -> str:
    """One line of the table."""
    from helpers import pictures, randomised
    from zoo import ZOO

    torch.manual_seed(0)
    report = vd.Decomposer(randomised(ZOO[name].make())).fit(pictures(1, ZOO[name].size)).report_
    cells = (
        name.replace("_", " "),
        len(report.components),
        len(report.heads),
        ", ".join(map(str, sorted(set(report.heads.values())))),
        len(report.opened) or "",
        f"{len(report.sites) - len(report.missing)} of {len(report.sites)}",
        f"{report.error:.0e}",
    )
    return f"| {' | '.join(map(str, cells))} |\n"


def main() -> None:
    """Make the table and put it between its marks."""
    warnings.simplefilter("ignore")
    sys.path.insert(0, str(ROOT / "tests"))
    from zoo import ZOO

    table = f"{BEGIN}\n{HEADER}{''.join(row(name) for name in track(ZOO, 'families'))}{END}"
    page = ROOT / "docs" / "families.md"
    text = page.read_text(encoding="utf-8")
    page.write_text(re.sub(f"{BEGIN}.*?{END}", lambda _: table, text, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    main()
