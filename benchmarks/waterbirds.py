r"""Waterbirds, as three papers measure it: every row of their tables, beside what they published.

    python benchmarks/waterbirds.py --data waterbird_complete95_forest2water2 --out waterbirds/
    python benchmarks/waterbirds.py --data ... --out waterbirds/ --row DeiT --row DINO
    python benchmarks/waterbirds.py --scenes --out waterbirds/          offline, on the embedded world

Each row is one `vitdecomp debias`, which stands below the table. A row that is there already is kept, so that the
command goes on where it was interrupted; `--again` measures it anew. `--scenes` puts an embedded model in the place of
each model, and scenes-waterbirds in that of the data.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from one_line_errors import one_line_errors
from rich.console import Console
from sheets import Sheet, command

from vitdecomp._utils.files import atomic, make_directory
from vitdecomp.errors import SpecError, VitdecompError

CLIP = "open_clip:ViT-L-14/laion2b_s32b_b82k"
PAPER, SITH, TEXTSPAN = "arXiv 2406.01583", "arXiv 2603.24653", "arXiv 2310.05916"
BIRDS = {
    "spurious": ("water", "ocean", "lake", "sky", "land", "forest", "trees", "bamboo", "leaves"),
    "core": ("bird", "finch", "hummingbird", "crow", "sparrow", "swan", "albatross", "pelican"),
}
SHAPES = {
    "spurious": ("water", "ocean", "snow", "night sky", "forest", "trees", "sand", "desert", "bricks", "grass"),
    "core": ("square", "triangle", "star", "cross", "arrow", "circle", "ring", "heart", "moon", "hexagon"),
}


@dataclass(frozen=True)
class Row:
    """A row of a published table.

    Attributes:
        spec: of the model. scenes: of the embedded one that takes its place.
        published: worst group before and after, and average before and after, in percent, as far as they are stated.
        source: where.
        zero_shot: whether texts of the classes are the head. directions: into which components are split. k: removed.
    """

    spec: str
    scenes: str
    published: tuple[float, ...]
    source: str = PAPER
    zero_shot: bool = False
    directions: str = ""
    k: int = 10


LARGE = "open_clip:ViT-L-14/openai"
ROWS: Mapping[str, Row] = {
    "DeiT": Row("timm:deit_base_patch16_224.fb_in1k", "scenes:deit", (73.3, 81.5, 87.4, 91.3)),
    "CLIP": Row("open_clip:ViT-B-16/laion2b_s34b_b88k", "scenes:clip", (50.7, 74.4, 72.7, 79.0)),
    "DINO": Row("timm:vit_base_patch16_224.dino", "scenes:dino", (80.0, 91.1, 90.0, 93.8)),
    "DINOv2": Row("timm:vit_base_patch14_dinov2.lvd142m", "scenes:dino", (96.7, 97.8, 98.3, 98.6)),
    "Swin": Row("timm:swin_base_patch4_window7_224.ms_in1k", "scenes:swin", (83.4, 87.1, 92.7, 94.4)),
    "MaxViT": Row("timm:maxvit_small_tf_224.in1k", "scenes:maxvit", (77.7, 81.4, 87.5, 88.7)),
    "zero-shot CLIP ViT-B-16, heads": Row(
        "open_clip:ViT-B-16/laion2b_s34b_b88k", "scenes:clip", (), TEXTSPAN, zero_shot=True
    ),
    "zero-shot CLIP ViT-L-14, heads": Row(CLIP, "scenes:clip", (), TEXTSPAN, zero_shot=True),
    "zero-shot CLIP ViT-H-14, heads": Row(
        "open_clip:ViT-H-14/laion2b_s32b_b79k", "scenes:clip", (), TEXTSPAN, zero_shot=True
    ),
    "zero-shot CLIP, heads": Row(LARGE, "scenes:clip", (47.9, 68.0), SITH, zero_shot=True),
    "zero-shot CLIP, singular directions": Row(
        LARGE, "scenes:clip", (47.9, 70.6), SITH, zero_shot=True, directions="singular:16", k=40
    ),
}


LANDBIRD_WATERBIRD, ROUND_POINTED = "a landbird,a waterbird", "a round thing,a pointed thing"
OWN = ("row", "model", "worst group", "average", "as many at random: worst group")
PUBLISHED = ("published worst group", "published average", "source")


@dataclass(frozen=True)
class Settings:
    """Say what is measured: images in a folder, or n of the embedded world, and how many heads."""

    data: Path | None
    n: int
    seeds: int

    def words(self, row: Row) -> list[str]:
        """Write the command of a row; a CLIP reads its own texts."""
        words, clip, classes, model = BIRDS, CLIP, LANDBIRD_WATERBIRD, row.spec
        if self.data is None:
            words, clip, classes, model = SHAPES, "scenes:clip", ROUND_POINTED, row.scenes
        flags = {f"--{name}": ",".join(some) for name, some in words.items()} | {"--top": str(row.k)}
        flags |= {} if row.spec.startswith("open_clip:") else {"--clip": clip}
        flags |= {"--zero-shot": classes, "--seeds": "1"} if row.zero_shot else {"--seeds": str(self.seeds)}
        flags |= {"--directions": row.directions} if row.directions else {}
        flags |= {"--limit": str(self.n)} if self.data is None else {"--images": str(self.data)}
        return ["debias", model, *(word for pair in flags.items() for word in pair)]


def measured(words: list[str]) -> dict[str, Any]:
    """Run the command of a row, which shows its progress itself.

    Raises:
        VitdecompError: it failed, and has said why.
    """
    done = subprocess.run([sys.executable, "-m", "vitdecomp", *words, "--json"], stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise VitdecompError(f"this row was not measured: {shlex.join(['vitdecomp', *words])}")
    told = json.loads(done.stdout)
    summary = {one["representation"]: one for one in told["summary"]}
    return {"model": told["model"], "summary": summary, "images": told["images"]}


def table(kept: Mapping[str, Mapping[str, Any]], *, published: bool) -> Sheet:
    """Set the rows that are there beside those that were published, if they are of the same models."""
    rows = []
    for name, row in ROWS.items():
        if name in kept:
            found = kept[name]["summary"]
            own = [
                " to ".join(f"{100 * found[when][key][0]:.1f}" for when in ("before", "after"))
                for key in ("worst", "average")
            ]
            told = [" to ".join(map(str, pair)) for pair in (row.published[:2], row.published[2:]) if pair]
            random = f"{100 * found['random']['worst'][0]:.1f}"
            beside = [*told, *[""] * (2 - len(told)), row.source] if published else []
            rows.append([name, kept[name]["model"], *own, random, *beside])
    return Sheet(
        "Worst group and average, before to after, in percent", (*OWN, *(PUBLISHED if published else ())), rows, 2
    )


def page(kept: Mapping[str, Mapping[str, Any]], sheet: Sheet) -> str:
    """Write the table with the command of every row."""
    commands = "\n".join(kept[name]["command"] for name in ROWS if name in kept)
    return f"# Waterbirds\n\nMade by `{command()}`.\n\n{sheet.markdown()}\n\n```\n{commands}\n```\n"


def main(
    out: Annotated[Path, typer.Option(help="Folder for a file of each row and for waterbirds.md.")],
    data: Annotated[Path | None, typer.Option(help="Waterbirds, as WILDS has it.")] = None,
    row: Annotated[list[str] | None, typer.Option(help="A row; repeatable. Default: all.")] = None,
    n: Annotated[int, typer.Option("-n", min=40, help="Images of each split of the embedded world.")] = 1000,
    seeds: Annotated[int, typer.Option(min=1, help="Heads.")] = 3,
    *,
    scenes: Annotated[bool, typer.Option("--scenes", help="The embedded world in place of the data.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Measure rows that are there, too.")] = False,
) -> None:
    """Measure the rows of published tables on Waterbirds, or on the embedded world."""
    with one_line_errors():
        if scenes == (data is not None):
            raise SpecError("give --data FOLDER, or --scenes")
        strange = [name for name in row or () if name not in ROWS]
        if strange:
            raise SpecError(f"no row {strange[0]!r}; there are: {', '.join(ROWS)}")
        settings, kept = Settings(data, n, seeds), dict[str, Any]()
        make_directory(out)
        for name, one in ROWS.items():
            words = settings.words(one)
            text, place = shlex.join(["vitdecomp", *words]), out / f"{name.replace(' ', '-').replace(',', '')}.json"
            told = json.loads(place.read_text()) if place.is_file() else {}
            if told.get("command") == text and not again:
                kept[name] = told
            elif not row or name in row:
                kept[name] = {"command": text, **measured(words)}
                with atomic(place) as path:
                    path.write_text(json.dumps(kept[name], indent=1))
        with atomic(out / "waterbirds.md") as path:
            sheet = table(kept, published=data is not None)
            path.write_text(page(kept, sheet))
    Console(width=160).print(sheet.rich())


if __name__ == "__main__":
    typer.run(main)
