"""Train one of the embedded models: `python -m scenes_training deit --out weights/`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from vitdecomp_adapters.scenes.clip import WEIGHTS
from vitdecomp_adapters.scenes.command import run_command

from scenes_training.memory import keep_memory
from scenes_training.objectives import OBJECTIVES
from scenes_training.pictures import Pictures
from scenes_training.publish import publish
from scenes_training.recipes import RECIPES, Recipe
from scenes_training.run import Run
from vitdecomp._utils.files import make_directory
from vitdecomp._utils.registry import did_you_mean
from vitdecomp.errors import SpecError
from vitdecomp.scenes import SceneDataset


def train(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(RECIPES)}.")],
    out: Annotated[
        Path, typer.Option(help="Folder for NAME.safetensors, and for the run's state meanwhile.")
    ] = WEIGHTS,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the scenes, the first weights and the batches.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    workers: Annotated[int, typer.Option(min=0, help="Processes that draw the scenes.")] = 2,
    steps: Annotated[int | None, typer.Option(min=1, help="Another number of steps.")] = None,
    images: Annotated[int | None, typer.Option(min=1, help="Another number of scenes.")] = None,
) -> None:
    """Train an embedded model; run it again to go on after an interruption."""
    recipe = _recipe(name, steps=steps, images=images)
    make_directory(out)
    keep_memory()
    console = Console(stderr=True)
    console.print(f"drawing {recipe.images:,} scenes")
    scenes = SceneDataset(recipe.images, seed, "train", word_probability=recipe.words)
    pictures = Pictures(scenes, workers, recipe.moments)
    torch.manual_seed(seed)
    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    run = Run(name, recipe, seed, OBJECTIVES[name](), pictures, out / f"{name}.state", torch.device(chosen))
    model = _with_progress(run, console)
    console.print(f"trained for {run.seconds / 60:.1f} minutes on {chosen}; measuring")
    path, figures = publish(run, model, out)
    console.print(f"wrote {path}: {', '.join(f'{k} {v:.1%}' for k, v in figures.items())}")
    run.state.unlink(missing_ok=True)


def _recipe(name: str, **changes: int | None) -> Recipe:
    if name not in RECIPES:
        raise SpecError(f"no embedded model {name!r}{did_you_mean(name, RECIPES)}")
    wanted = {key: value for key, value in changes.items() if value is not None}
    recipe = replace(RECIPES[name], **wanted)
    if recipe.images < recipe.batch_size:
        raise SpecError(f"{recipe.images} scenes are fewer than the {recipe.batch_size} of one batch")
    return recipe


def _with_progress(run: Run, console: Console) -> torch.nn.Module:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    times = (TimeElapsedColumn(), TimeRemainingColumn())
    if console.is_terminal:
        with Progress(*columns, *times, console=console) as bar:
            task = bar.add_task(f"{run.name}", total=run.recipe.steps)
            told = lambda done, total, loss: bar.update(  # noqa: E731
                task, completed=done, total=total, description=f"{run.name} loss {loss:.3f}"
            )
            return run(told)
    return run(lambda done, total, loss: _line(console, run, done, total, loss))


def _line(console: Console, run: Run, done: int, total: int, loss: float) -> None:
    if done % 100 == 0 or done == total:
        console.print(f"{run.name} step {done} of {total}, loss {loss:.4f}, {run.seconds:.0f} s")


if __name__ == "__main__":
    run_command(train)
