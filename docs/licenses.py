"""Write the licenses of all dependencies into docs/licenses.md: `make licenses`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PAGE = Path(__file__).with_name("licenses.md")
BEGIN, END = "<!-- dependencies:begin -->\n", "<!-- dependencies:end -->\n"
OWN = "vitdecomp"
LEFT_OUT = {"dev", "test", "bench", "peers", "faithfulness-peers"}  # extras for work on the package itself
UNKNOWN = "not in its metadata"
GIVEN = {"torchao": "BSD-3-Clause"}  # by the file LICENSE of a package whose metadata say nothing


def extras() -> dict[str, set[str]]:
    """Group packages by the extra that asks for them; the empty extra is what is always installed."""
    found: dict[str, set[str]] = {"": set()}
    for line in requires(OWN) or ():
        wanted = Requirement(line)
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", line)
        name = canonicalize_name(wanted.name)
        if name != OWN and (extra is None or extra[1] not in LEFT_OUT):
            found.setdefault("" if extra is None else extra[1], set()).add(name)
    return found


def needed(name: str, seen: set[str]) -> Iterator[str]:
    """Yield a package and all that it needs on this machine."""
    if name in seen:
        return
    seen.add(name)
    try:
        lines = requires(name) or ()
    except PackageNotFoundError:  # on another system, or another Python
        return
    yield name
    for line in lines:
        wanted = Requirement(line)
        if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
            yield from needed(canonicalize_name(wanted.name), seen)


def licenses(names: set[str]) -> dict[str, str]:
    """Ask pip-licenses for the licenses of installed packages."""
    command = [sys.executable, "-m", "piplicenses", "--format=json", "--packages", *sorted(names)]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    found = {canonicalize_name(row["Name"]): " ".join(row["License"].split()) for row in told}
    return {name: UNKNOWN if text == "UNKNOWN" else text for name, text in found.items()} | GIVEN


def table() -> str:
    """Set out every package once: those that are asked for by name first."""
    direct = {name: extra for extra, names in sorted(extras().items()) for name in sorted(names)}
    seen: set[str] = set()
    everything = {name: direct.get(name) for first in direct for name in needed(first, seen)}
    known = licenses(set(everything))
    lines = ["| package | license | needed |", "|---|---|---|"]
    for name in sorted(everything, key=lambda name: (everything[name] is None, everything[name] or "", name)):
        extra = everything[name]
        why = "by others" if extra is None else f"extra `{extra}`" if extra else "always"
        lines.append(f"| {name} | {known.get(name, UNKNOWN).replace(';', ',')} | {why} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Replace the table of the page."""
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}{table()}{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
