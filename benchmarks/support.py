r"""Which models vitdecomp takes: the smallest member of every family of timm, open_clip, transformers and torchvision.

    python benchmarks/support.py                                       the families that the table lacks
    python benchmarks/support.py --library timm --family levit --again some of them once more
    python benchmarks/support.py --page-only                           the page alone, from the table

Weights are random, and all parameters are moved. Every row is a process of its own, on one thread: the model is traced
and decomposed in float64, then in float32 and bfloat16; all contributions by head and one direction are timed in
float32, batch 2, each right behind a plain pass. Rows are kept as they are made, so that a run can be stopped and goes
on where it was. The table is `vitdecomp/models/support.json`, which `vitdecomp models` reads; the page is
`docs/support.md`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from support_candidates import LIBRARIES, Family, families
from support_page import page

from vitdecomp._utils.files import atomic
from vitdecomp.models.support import TABLE, read_table

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "support.md"
GIB = 2**30
POLL = 0.5  # seconds between two looks at a row's memory


def measured(family: Family, seconds: float, memory: float) -> dict[str, Any]:
    """Measure a family in a process of its own, stopped when it takes too long or too much."""
    order = [sys.executable, str(Path(__file__).with_name("support_row.py")), family.library, family.name]
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    began = time.perf_counter()
    with subprocess.Popen(
        order, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | threads
    ) as process:
        while True:
            try:
                said, complaint = process.communicate(timeout=POLL)
                break
            except subprocess.TimeoutExpired:
                if time.perf_counter() - began > seconds or _resident(process.pid) > memory * GIB:
                    process.kill()
                    what = f"over {memory:g} GiB" if _resident(process.pid) > memory * GIB else f"over {seconds:g} s"
                    process.communicate()
                    return {"failed": what}
    if process.returncode:
        return {"failed": (complaint.strip().splitlines() or ["no message"])[-1][:200]}
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return found


def _resident(pid: int) -> int:
    """Return the memory that a process holds, in bytes; 0 where nothing tells it."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def save(table: Mapping[str, Any], file: Path) -> None:
    """Keep the rows, in the order of libraries and families."""
    order = {library: number for number, library in enumerate(LIBRARIES)}
    rows = dict(sorted(table.items(), key=lambda item: (order[item[0].partition("/")[0]], item[0])))
    with atomic(file) as partial:
        partial.write_text(json.dumps(rows, indent=0) + "\n", encoding="utf-8")


def main(
    library: Annotated[list[str] | None, typer.Option(help="timm, open_clip, transformers, torchvision.")] = None,
    family: Annotated[list[str] | None, typer.Option(help="A family's name; repeatable. Default: all.")] = None,
    table: Annotated[Path, typer.Option(help="Where rows are kept.")] = TABLE,
    page_file: Annotated[Path, typer.Option("--page", help="Where the page is written.")] = PAGE,
    seconds: Annotated[float, typer.Option(help="Give a row up after this time.")] = 900.0,
    memory: Annotated[float, typer.Option(help="Give a row up when it holds so many GiB.")] = 14.0,
    *,
    again: Annotated[bool, typer.Option("--again", help="Measure rows that the table has, too.")] = False,
    page_only: Annotated[bool, typer.Option("--page-only", help="Measure nothing.")] = False,
) -> None:
    """Measure the families that are not in the table yet, and write the page."""
    console = Console()
    rows = read_table(table) if table.exists() else {}
    try:
        asked = [f for one in library or LIBRARIES for f in families(one) if not family or f.name in family]
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if not asked:
        raise typer.BadParameter(f"no such family: {', '.join(family or [])}")
    missing = [] if page_only else [f for f in asked if again or f.key not in rows]
    for number, one in enumerate(missing, 1):
        console.print(f"{number} of {len(missing)}: {one.key}", highlight=False)
        rows[one.key] = measured(one, seconds, memory)
        save(rows, table)
    with atomic(page_file) as partial:
        partial.write_text(page(rows), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
