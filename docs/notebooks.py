"""Execute the tutorials anew: `python docs/notebooks.py [NAME ...]` (`make tutorials`; about a minute).

A notebook is kept with its outputs and without what depends on the machine. Its figures have a description in the
metadata of their cell (`alt`), which the documentation shows to those who cannot see them.
"""

from __future__ import annotations

import base64
import io
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from PIL import Image

TUTORIALS = Path(__file__).parent / "tutorials"
KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
PICTURE, SHADES = "image/png", 255
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore:IProgress not found"}  # no widgets are needed
TIMEOUT = 300  # seconds for a cell, on a machine with other work
NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?%?")
CLOSE = {"%": 5.0, ".": 0.03}  # how far a percentage and a fraction may be from what is printed, on another machine
ROUNDING = 1e-4  # a number in scientific notation is an error of rounding, and below this


def names() -> list[str]:
    """List the tutorials."""
    return sorted(path.stem for path in TUTORIALS.glob("*.ipynb"))


def read(name: str) -> Any:
    """Read a tutorial."""
    return nbformat.read(TUTORIALS / f"{name}.ipynb", as_version=4)


def executed(name: str) -> Any:
    """Run a tutorial in an empty folder, in a process of its own."""
    notebook = read(name)
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(notebook, timeout=TIMEOUT, coalesce_streams=True)
        client.execute(cwd=folder, env={**os.environ, **ENVIRONMENT})
    return cleaned(notebook)


def cleaned(notebook: Any) -> Any:
    """Leave out what depends on the machine."""
    notebook.metadata = nbformat.from_dict(KERNEL)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        cell.metadata = nbformat.from_dict({k: v for k, v in cell.metadata.items() if k == "alt"})
        for output in cell.get("outputs", ()):
            if "data" in output:
                kept = PICTURE if PICTURE in output.data else "text/plain"
                value = small(output.data[kept]) if kept == PICTURE else output.data[kept]
                output.data, output.metadata = nbformat.from_dict({kept: value}), nbformat.from_dict({})
    return notebook


def small(picture: str) -> str:
    """Give a figure few colors, unless it has few."""
    with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
        if image.mode == "P":
            return picture
        reduced = image.convert("RGB").quantize(SHADES, dither=Image.Dither.NONE)
    written = io.BytesIO()
    reduced.save(written, format="png", optimize=True)
    return base64.b64encode(written.getvalue()).decode()


def printed(cell: Any) -> str:
    """Return what a cell prints and returns, in words."""
    parts = (output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.get("outputs", ()))
    return "\n".join(parts).strip()


def pictures(cell: Any) -> list[str]:
    """Return the figures of a cell, in base 64."""
    return [o.data[PICTURE].strip() for o in cell.get("outputs", ()) if PICTURE in o.get("data", {})]


def differences(promised: Any, found: Any) -> Iterator[str]:
    """Compare two runs cell by cell; say where one prints other words, other numbers, or no figure."""
    for number, (old, new) in enumerate(zip(promised.cells, found.cells, strict=True)):
        told, tells = printed(old), printed(new)
        words = [" ".join(NUMBER.sub("N", text).split()) for text in (told, tells)]
        figures = [NUMBER.findall(text) for text in (told, tells)]
        if words[0] != words[1] or not all(map(alike, *figures)):
            yield f"cell {number} printed\n{told}\nand prints\n{tells}"
        if len(pictures(old)) != len(pictures(new)):
            yield f"cell {number} had {len(pictures(old))} figures and has {len(pictures(new))}"


def alike(one: str, other: str) -> bool:
    """Compare two numbers: whole ones exactly, others by what a machine may change of them."""
    if "e" in one or "e" in other:
        return max(abs(float(one)), abs(float(other))) < ROUNDING
    allowed = CLOSE["%"] if one.endswith("%") else CLOSE["."] if "." in one else 0.0
    return abs(float(one.rstrip("%")) - float(other.rstrip("%"))) <= allowed


def main(chosen: list[str]) -> None:
    """Execute some tutorials, or all, and write them."""
    for name in chosen or names():
        nbformat.write(executed(name), TUTORIALS / f"{name}.ipynb")
        sys.stdout.write(f"{name}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
