"""`vitdecomp scenes`: write small labelled images to a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from typer import Option

from vitdecomp.cli.command import command
from vitdecomp.cli.options import ResultOptions


@command
def scenes(
    *,
    out: Annotated[Path, Option(help="Folder for the images; must not exist, or be empty.")],
    n: Annotated[int, Option("--n", min=1, help="Number of images.")] = 1000,
    seed: Annotated[int, Option(min=0, help="Seed of everything random.")] = 0,
    split: Annotated[str, Option(help="train, val or test; no two share an image.")] = "test",
    subset: Annotated[str, Option(help="plain, waterbirds, celeba or typographic.")] = "plain",
    word_probability: Annotated[float, Option(help="Share of images with a word written over them.")] = 0.0,
    masks: Annotated[bool, Option("--masks", help="Write masks of the objects too: images/ and masks/.")] = False,
    result: ResultOptions,
) -> None:
    """Draw small labelled images, the same everywhere: a folder for each class, and labels.csv."""
    import numpy as np

    from vitdecomp.scenes import SceneDataset

    data = SceneDataset(n, seed, split, subset, word_probability=word_probability)
    with result.progress("drawing") as progress:
        data.write(out, progress, masks=masks)
    counts = np.bincount(data.labels["target"], minlength=len(data.classes)).tolist()
    classes = dict(zip(data.classes, counts, strict=True))
    written: dict[str, Any] = {"out": str(out), "pictures": n, "images": n, "seed": seed, "split": split}
    what = "images with masks" if masks else "images"
    result.show(
        {**written, "subset": subset, "masks": masks, "classes": classes},
        lambda console: console.print(f"{n} {what} in {len(classes)} classes: {out}", soft_wrap=True),
    )
