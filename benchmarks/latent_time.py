r"""What latent tokens cost, as ratios to the plain forward pass of the same model on the same batch.

    python benchmarks/latent_time.py --out docs/benchmarks
    python benchmarks/latent_time.py --quick

All layers are read in one sweep; beside it stands the slow way, one run of the model for each layer with the identity
in place of patterns (by hand, for timm's ViT). Tasks run in turn, each right behind a plain pass of its own; a ratio is
the median over rounds. Weights and images are random. `--out` writes `latent_time.md` and `latent_time.json`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import torch.nn.functional as F
import typer
from bench import Bench, model_of
from machine import Machine
from rich.console import Console
from sheets import Result, Sheet, write
from speed_tasks import Run, plain
from timing import PLAIN, Conditions, measured
from torch import Tensor, nn

from vitdecomp import LatentTokens, VitdecompError
from vitdecomp._utils.files import check_directory

VIT, SWIN, CLIP = "timm:vit_base_patch16_224", "timm:swin_base_patch4_window7_224", "open_clip:ViT-B-16"
LIMIT = 3.0  # plain passes for all layers of a model of 12 blocks
HEADING = (
    "What latent tokens cost",
    "Time of `vd.LatentTokens.transform` on a fitted model, batch {batch}, as ratios to the plain forward pass of the "
    "same model. *least*: what the linear layers alone cost by their multiplications, the projections of values and "
    "outputs folded into one: no exact way costs less, since each layer's tokens go through all later MLPs on their "
    "own.",
)


def by_hand(bench: Bench) -> Run:
    """Run timm's ViT once for each layer, from which on the identity stands in place of patterns."""
    model = bench.loaded.module

    def run() -> list[Tensor]:
        found = []
        with torch.no_grad():
            for layer in range(len(model.blocks) + 1):
                x = model._pos_embed(model.patch_embed(bench.images))
                for number, block in enumerate(model.blocks):
                    x = block(x) if number < layer else _alone(block, x)
                found.append(model.norm(x))
        return found

    return run


def _alone(block: nn.Module, x: Tensor) -> Tensor:
    attention, d = block.attn, x.shape[-1]
    values = F.linear(block.norm1(x), attention.qkv.weight, attention.qkv.bias)[..., -d:]
    x = x + attention.proj(values)
    found: Tensor = x + block.mlp(block.norm2(x))
    return found


def measure(spec: str, batch: int, conditions: Conditions) -> Result:
    """Time all layers, the last four, and the slow way where there is one."""
    bench = Bench.load(model_of(spec), batch, conditions)
    tokens = LatentTokens(bench.dec).fit(bench.images[:1])
    count = len(tokens.layers_) + 1
    tasks: dict[str, Run] = {
        f"all {count} layers": lambda: tokens.transform(bench.images),
        "the last four": lambda: tokens.transform(bench.images, layers=[-4, -3, -2, -1]),
        "one in the middle": lambda: tokens.transform(bench.images, layers=[count // 2]),
    }
    if spec == VIT:
        tasks["one run for each layer, by hand"] = by_hand(bench)
    rows = {row.task: row for row in measured({PLAIN: plain(bench), **tasks}, batch, conditions)}
    lines = [
        [name, f"{row.ratio:.2f}", f"{1000 * batch / row.milliseconds:.1f}"]
        for name, row in rows.items()
        if name != PLAIN and row.ratio is not None and row.milliseconds is not None
    ]
    figures = {name: {"ratio": row.ratio, "ms": row.milliseconds} for name, row in rows.items()}
    least = f"Least for all layers, by multiplications: {_least(count - 1):.1f}; limit {LIMIT:g}"
    title = f"{model_of(spec).title}: plain pass {rows[PLAIN].milliseconds:.0f} ms"
    sheet = Sheet(title, ("layers", "x plain", "images/s"), lines)
    return Result(figures, [sheet], [] if spec == SWIN else [least])


def _least(blocks: int) -> float:
    """Return the multiplications of all layers as a share of the plain pass's: blocks of 9 d^2 in place of 12 d^2."""
    return 1 + 9 / 12 * blocks * (blocks + 1) / 2 / blocks


def main(
    model: Annotated[list[str] | None, typer.Option(help="A spec; repeatable. Default: three models.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images at once.")] = 8,
    threads: Annotated[int, typer.Option(min=1, help="Of the processor.")] = 2,
    rounds: Annotated[int, typer.Option(min=1, help="That count, beside a first one that does not.")] = 3,
    quick: Annotated[bool, typer.Option("--quick", help="A small model, one round: to see that it works.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for latent_time.md and .json.")] = None,
) -> None:
    """Time latent tokens against the plain forward pass."""
    specs = model or (["timm:test_vit"] if quick else [VIT, CLIP, SWIN])
    conditions = Conditions(threads=threads, rounds=1 if quick else rounds)
    try:
        if out is not None:
            check_directory(out)
        torch.set_num_threads(threads)
        results: dict[str, Result] = {}
        for spec in specs:
            results[spec] = measure(spec, batch, conditions)
            Console(width=130).print(results[spec].sheets[0].rich(), *results[spec].notes, "", sep="\n")
        if out is not None:
            heading = (HEADING[0], f"{HEADING[1].format(batch=batch)} {Machine.here('cpu', threads).sentence()}")
            settings = {"batch": batch, "rounds": conditions.rounds, "threads": threads}
            write(out, "latent_time", heading, settings, results)
    except (ValueError, VitdecompError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from error


if __name__ == "__main__":
    typer.run(main)
