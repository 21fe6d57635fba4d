"""The demo from beginning to end."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from vitdecomp._utils.files import atomic, check_directory, make_directory
from vitdecomp.demo.context import Context, Options
from vitdecomp.demo.figure import Number
from vitdecomp.demo.page import render
from vitdecomp.demo.section import Section
from vitdecomp.demo.story import story
from vitdecomp.demo.subject import decompose
from vitdecomp.demo.world import World, folder_world, scenes_world
from vitdecomp.errors import SpecError
from vitdecomp.models.prepare import ModelOptions
from vitdecomp.trace.graph_file import write_graph

Stage = Callable[[str], AbstractContextManager[None]]

SCHEMA = 1
CLAIM = "Every representation below is an exact sum of named parts."
RANDOM = "The weights are random: the sums are exact, but all other figures mean nothing."
UNKNOWN = "The weights are as the module came: if nobody trained them, all figures but the sums mean nothing."
MODELS = ("scenes:deit", "scenes:clip", "scenes:dino", "scenes:swin", "scenes:maxvit")  # the featured one first
FEATURED, OTHERS, FOREIGN = 1600, 640, 400  # pictures for the featured model, the others, and a user's
PACKAGES = ("vitdecomp", "torch", "timm", "open_clip_torch", "numpy")


@dataclass(frozen=True, slots=True)
class Demo:
    """What the demo found.

    Attributes:
        context: pictures and models. sections: by the names of their steps. left_out: why steps were, by name.
        seconds: that everything took.
    """

    context: Context
    sections: Mapping[str, Section]
    left_out: Mapping[str, str]
    seconds: float

    @property
    def notes(self) -> list[str]:
        """What a reader has to know before the figures."""
        states = {s.report.pretrained for s in self.context.subjects}
        notes = [note for state, note in ((False, RANDOM), (None, UNKNOWN)) if state in states]
        notes += [note for s in self.context.subjects for note in s.report.notes]
        reasons: dict[str, list[str]] = {}
        for name, why in self.left_out.items():
            reasons.setdefault(why, []).append(name)
        return notes + [f"Left out ({', '.join(names)}): {why}." for why, names in reasons.items()]

    @property
    def key(self) -> dict[str, Number]:
        """The most important figures, by their names."""
        return {name: number for section in self.sections.values() for name, number in section.key.items()}

    @property
    def versions(self) -> dict[str, str]:
        """What it was made with."""
        return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}

    def to_json(self) -> dict[str, Any]:
        """Return every figure that the page shows, as plain values."""
        return {
            "schema": SCHEMA,
            "claim": CLAIM,
            "notes": self.notes,
            "command": self.context.options.command,
            "seed": self.context.options.seed,
            "versions": self.versions,
            "models": [s.name for s in self.context.subjects],
            "pictures": self.context.world.source,
            "key": {name: number.to_json() for name, number in self.key.items()},
            "sections": {name: section.to_json() for name, section in self.sections.items()},
            "left_out": dict(self.left_out),
            "seconds": round(self.seconds, 2),
        }

    def to_html(self) -> str:
        """Render the page."""
        return render({"claim": CLAIM, "demo": self})

    def write(self, out: Path) -> None:
        """Write `summary.json`, `paths.graphml` of the featured model, and `report.html` with the pages of sections."""
        page, summary = self.to_html(), json.dumps(self.to_json(), indent=1, ensure_ascii=False) + "\n"
        make_directory(out)
        write_graph(self.context.featured.report.graph, out / "paths.graphml")
        for section in self.sections.values():
            for name, own in section.pages.items():
                own.write(out / name)
        for name, text in (("summary.json", summary), ("report.html", page)):
            with atomic(out / name) as partial:
                partial.write_text(text, encoding="utf-8")


def run_demo(options: Options, out: Path | None = None, stage: Stage = lambda _: nullcontext()) -> Demo:
    """Decompose models, measure what their components know, and write the report.

    Args:
        options: what was asked for.
        out: a folder for the report, if one is wanted.
        stage: makes a context around each thing that is done, from its name.

    Raises:
        OutputError: the folder cannot be written; said before any work is done.
        SpecError: weights or a size, but no model to give them to.
        InputError: no images. LoadError: the weights of a model cannot be had.
    """
    if options.model is None and (options.checkpoint or options.image_size):
        raise SpecError("--checkpoint and --image-size are of one model: name it with --model")
    if out is not None:
        check_directory(out)
    began = time.perf_counter()
    with stage("pictures"):
        world = _world(options)
    context = Context(options, world, tuple(_subjects(options, world, stage)))
    sections, left_out = {}, {}
    for step in story():
        why = step.obstacle(context)
        if why:
            left_out[step.name] = why
            continue
        with stage(step.doing):
            sections[step.name] = step.run(context)
    demo = Demo(context, sections, left_out, time.perf_counter() - began)
    if out is not None:
        with stage("report"):
            demo.write(out)
    return demo


def _world(options: Options) -> World:
    if options.images is not None:
        return folder_world(options.images, FOREIGN, strict=options.strict)
    return scenes_world(FOREIGN if options.model else FEATURED, options.seed)


def _subjects(options: Options, world: World, stage: Stage) -> Any:
    models = (options.model,) if options.model else MODELS
    for model, most in zip(models, (FEATURED, *[OTHERS] * len(models)), strict=False):
        model_options = ModelOptions(
            model, options.random_weights, options.checkpoint, "cpu", seed=options.seed, image_size=options.image_size
        )
        with stage(model):
            subject = decompose(model_options, world, most)
        yield subject
