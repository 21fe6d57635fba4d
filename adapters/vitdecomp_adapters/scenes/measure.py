"""What the embedded models know, measured on scenes they were not trained on.

`python -m vitdecomp_adapters.scenes.measure` prints it: the accuracy of linear probes on the representation of every
model, and of zero-shot classification by the CLIP.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import torch
import typer
from jaxtyping import Float
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from vitdecomp.models.adapter import as_loaded, load_model
from vitdecomp.scenes import FACTORS, SceneDataset
from vitdecomp_adapters.scenes.adapter import MODELS
from vitdecomp_adapters.scenes.command import run_command
from vitdecomp_adapters.scenes.words import tokenize

PROBED = ("shape", "colour", "pattern", "location", "size", "position")
# Every value's class vector is the mean over these, so that what else a text says does not count.
TEMPLATES: Mapping[str, Sequence[str]] = {
    "shape": ("a {}", "a picture of a {}", "a photo of a {}"),
    "colour": ("something {}", "a {} thing"),
    "pattern": ("a {} thing", "something {}"),
    "location": ("{}", "a picture of {}", "{} in the background"),
}
SEED = 1000  # of the scenes that are measured on


def measure(name: str, module: nn.Module, n: int = 4000, seed: int = SEED) -> dict[str, float]:
    """Accuracies by name: `probe.FACTOR` for every model, `zero_shot.FACTOR` for the CLIP.

    Args:
        name: of the embedded model.
        module: the model.
        n: scenes that the probes are fitted to; half as many are tested on.
        seed: of the scenes.

    Returns:
        Between 0 and 1 each.
    """
    fitted, held_out = SceneDataset(n, seed, "val"), SceneDataset(n // 2, seed, "test")
    x, y = embeddings(module, fitted), embeddings(module, held_out)
    figures = {f"probe.{f}": probe(x, fitted.labels[f], y, held_out.labels[f]) for f in PROBED}
    if name == "clip":
        figures |= {f"zero_shot.{f}": zero_shot(module, y, f, held_out.labels[f]) for f in TEMPLATES}
    return figures


@torch.no_grad()
def embeddings(module: nn.Module, data: SceneDataset, batch_size: int = 250) -> Float[Tensor, "n d"]:
    """Compute the representation of every scene, by the model's own transform."""
    loaded = as_loaded(module)
    representation = loaded.representation()
    from PIL import Image

    parts = []
    for start in range(0, len(data), batch_size):
        pictures = data.arrays(range(start, min(start + batch_size, len(data))))
        batch = torch.stack([loaded.preprocess(Image.fromarray(p)) for p in pictures])  # type: ignore[misc]
        parts.append(representation(batch))
    return torch.cat(parts)


def probe(x: Tensor, classes: np.ndarray, held_out: Tensor, truth: np.ndarray) -> float:
    """Measure the accuracy of a logistic regression on standardized representations."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    return float(model.fit(x.numpy(), classes).score(held_out.numpy(), truth))


@torch.no_grad()
def zero_shot(clip: Any, x: Float[Tensor, "n d"], factor: str, truth: np.ndarray) -> float:
    """Measure the accuracy of the nearest text among those of a factor's values."""
    vectors = []
    for value in FACTORS[factor]:
        texts = clip.encode_text(tokenize([t.format(value) for t in TEMPLATES[factor]]), normalize=True)
        vectors.append(torch.nn.functional.normalize(texts.mean(0), dim=0))
    found = (torch.nn.functional.normalize(x, dim=1) @ torch.stack(vectors).T).argmax(1)
    return float((found.numpy() == truth).mean())


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Default: all.")] = None,
    n: Annotated[int, typer.Option(min=200, help="Scenes to fit probes to; half as many are tested on.")] = 4000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the scenes.")] = SEED,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure the embedded models on scenes that they were not trained on."""
    figures = {name: measure(name, load_model(f"scenes:{name}").module, n, seed) for name in names or MODELS}
    if as_json:
        typer.echo(json.dumps(figures, indent=1))
        return
    rows = list(dict.fromkeys(row for found in figures.values() for row in found))
    table = Table("accuracy", *figures, box=None)
    for row in rows:
        table.add_row(row, *(f"{100 * f[row]:.1f}%" if row in f else "" for f in figures.values()))
    Console().print(table)


if __name__ == "__main__":
    run_command(main)
