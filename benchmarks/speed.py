r"""What a decomposition costs, as a ratio to the plain forward pass of the same model on the same batch.

    python benchmarks/speed.py --out docs/benchmarks --page docs/benchmarks.md     everything, on two threads
    python benchmarks/speed.py --quick                                              small models, to see that it works
    python benchmarks/speed.py --part time --batch 8 --batch 64 --device cuda --dtype bfloat16 --rounds 20
    python benchmarks/speed.py --read speed-h100.json --out docs/benchmarks --page docs/benchmarks.md

All tasks are run in turn, each right behind a plain pass, so that what else the machine does hits both alike; a ratio
is the median over the rounds of a task's time divided by that of the plain pass before it. Weights are random, the
plain pass is the model's own code in `torch.inference_mode`. Memory is the weights and the most that a task allocates
above what is there before it begins.

`--out` writes `speed-NAME.json`, `speed-NAME.md` and `speed-NAME.svg`; `--page` puts the tables into a page, between
marks that bear the name. What is done is in the JSON at once; `--read` makes the other files of it, on another machine
if need be. All this needs torch, timm, jaxtyping, platformdirs, rich and typer; what else is not there stands in the
tables as not installed. Where vitdecomp is not installed either: `PYTHONPATH=.:adapters python benchmarks/speed.py`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import speed_page
import torch
import typer
from bench import MODELS, load, model_of
from curve_figure import draw
from curves import CURVES, curve
from machine import Machine, missing
from peers import compared
from rich.console import Console
from sheets import command
from speed_memory import peaks
from speed_tasks import PER_IMAGE, times
from timing import DTYPES, Conditions

from vitdecomp import VitdecompError
from vitdecomp._utils.files import atomic, check_directory, make_directory

PARTS = ("time", "memory", "peers", "curves")
HOSTS = ("timm:vit_base_patch16_224", "open_clip:ViT-B-16")  # of other tools
KEYS = {"name", "command", "machine", "conditions", *PARTS}


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        parts: some of `PARTS`. models: specs. batches: images at once. hosts: models that other tools run on.
        per_image: images that have a direction each. quick: whether curves are of small models.
    """

    parts: Sequence[str] = PARTS
    models: Sequence[str] = field(default=tuple(MODELS))
    batches: Sequence[int] = (8,)
    hosts: Sequence[str] = HOSTS
    per_image: int = PER_IMAGE
    quick: bool = False


QUICK = Plan(PARTS, ("timm:test_vit",), (2,), ("timm:test_vit", "open_clip:ViT-S-16"), 4, True)


def run(plan: Plan, conditions: Conditions, console: Console) -> Iterator[tuple[str, Any]]:
    """Whatever is done, as it comes: a part, and what was found of it so far."""
    found: dict[str, Any] = {"time": [], "memory": [], "peers": [], "curves": {}}
    pairs = [(model_of(spec), batch) for spec in plan.models for batch in plan.batches]
    for model, batch in pairs if "time" in plan.parts else ():
        console.print(f"time: {model.title}, batch {batch}")
        found["time"].append(times(model, batch, conditions, per_image=plan.per_image))
        yield "time", found["time"]
    for model, batch in pairs if "memory" in plan.parts else ():
        console.print(f"memory: {model.title}, batch {batch}")
        found["memory"].append(peaks(model, batch, conditions))
        yield "memory", found["memory"]
    for host in plan.hosts if "peers" in plan.parts else ():
        console.print(f"other tools: {model_of(host).title}")
        found["peers"].append(compared(model_of(host), plan.batches[0], conditions))
        yield "peers", found["peers"]
    for name in CURVES if "curves" in plan.parts else ():
        console.print(f"curve: {name}")
        found["curves"][name] = curve(name, conditions, quick=plan.quick)
        yield "curves", found["curves"]


def read(path: Path) -> dict[str, Any]:
    """Read a run that was written before.

    Raises:
        ValueError: it cannot be read, or is something else.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"cannot read {path}: {error}") from error
    if not isinstance(found, dict) or not {"name", "command", "machine", "conditions"} <= {*found} <= KEYS:
        raise ValueError(f"{path} was not written by this program")
    try:
        speed_page.full(found)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} was written by another version of this program") from error
    return found


def write(found: Mapping[str, Any], out: Path, page: Path | None) -> None:
    """Write the tables of a run, its plot if it can be drawn, and its section of a page."""
    stem = f"speed-{found['name']}"
    pictures = []
    if found.get("curves") and not missing("matplotlib"):
        with atomic(out / f"{stem}.svg") as partial:
            draw(found["curves"], partial)
        pictures.append(f"{stem}.svg")
    _put(out / f"{stem}.md", speed_page.full(found))
    if page is not None:
        folder = Path(os.path.relpath(out, page.parent)).as_posix()
        text = page.read_text(encoding="utf-8")
        _put(page, speed_page.placed(text, found["name"], speed_page.section(found, folder, pictures)))


def main(  # noqa: PLR0913, PLR0917 - one for each setting; typer names them
    part: Annotated[
        list[str] | None, typer.Option(help=f"One of {', '.join(PARTS)}; repeatable. Default: all.")
    ] = None,
    model: Annotated[list[str] | None, typer.Option(help="A spec; repeatable. Default: five models.")] = None,
    batch: Annotated[list[int] | None, typer.Option(min=1, help="Images; repeatable. Default: 8.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    dtype: Annotated[str, typer.Option(help=f"One of {', '.join(DTYPES)}.")] = "float32",
    threads: Annotated[int, typer.Option(min=1, help="Of a CPU.")] = 2,
    rounds: Annotated[int | None, typer.Option(min=1, help="That count, at least. Default: 3, 1 if quick.")] = None,
    seconds: Annotated[
        float, typer.Option(min=0, help="Rounds of short tasks go on for so long, unless quick.")
    ] = 10.0,
    quick: Annotated[bool, typer.Option("--quick", help="Small models, one round: to see that it works.")] = False,
    name: Annotated[str | None, typer.Option(help="Of the files and the section. Default: DEVICE-DTYPE.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for speed-NAME.json, .md and .svg.")] = None,
    page: Annotated[Path | None, typer.Option(help="Markdown file with a section for NAME, in --out's place.")] = None,
    read_: Annotated[Path | None, typer.Option("--read", help="Measure nothing; make the files of this JSON.")] = None,
) -> None:
    """Time decompositions against the plain forward pass, beside other tools, and against what they grow with."""
    usual = QUICK if quick else Plan()
    plan = Plan(part or usual.parts, model or usual.models, batch or usual.batches, usual.hosts, usual.per_image, quick)
    conditions = Conditions(device, dtype, threads, rounds or (1 if quick else 3), 0.0 if quick else seconds)
    name = name or f"{device}-{dtype}{'-quick' if quick else ''}".replace(":", "")
    try:
        _check(plan, conditions, name, model, out, page)
        found = read(read_) if read_ else _measure(plan, conditions, name, out)
        if out is not None:
            make_directory(out)
            write(found, out, page)
        for sheet in _sheets(found):
            Console(width=130).print(sheet.rich(), "")
    except (ValueError, VitdecompError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from error


def _measure(plan: Plan, conditions: Conditions, name: str, out: Path | None) -> dict[str, Any]:
    torch.set_num_threads(conditions.threads)
    machine = Machine.here(conditions.device, conditions.threads)
    found = {"name": name, "command": command(), "machine": asdict(machine), "conditions": asdict(conditions)}
    for key, value in run(plan, conditions, Console(stderr=True)):
        found[key] = value
        if out is not None:
            make_directory(out)
            _put(out / f"speed-{name}.json", json.dumps(found, indent=1) + "\n")
    return found


def _check(
    plan: Plan, conditions: Conditions, name: str, models: Sequence[str] | None, out: Path | None, page: Path | None
) -> None:
    """Refuse what cannot be done before anything is."""
    if unknown := [part for part in plan.parts if part not in PARTS]:
        raise ValueError(f"no part {unknown[0]!r}; there are: {', '.join(PARTS)}")
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise ValueError(f"--name {name!r}: use small letters, digits and single hyphens")
    if page is not None and (out is None or not page.is_file()):
        raise ValueError(f"--page {page}: {'give --out too' if out is None else 'there is no such file'}")
    if out is not None:
        check_directory(out)
    conditions.check()
    for spec in models or ():
        if not model_of(spec).why_not:
            load(model_of(spec))


def _sheets(found: Mapping[str, Any]) -> list[Any]:
    """For the terminal."""
    return [
        *speed_page.target_sheets(found),
        *(speed_page.peers_sheet(entry) for entry in found.get("peers", ())),
        *(sheet for name, one in found.get("curves", {}).items() for sheet in speed_page.curve_sheets(name, one)),
    ]


def _put(path: Path, text: str) -> None:
    with atomic(path) as partial:
        partial.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
