"""What `vitdecomp scenes` does: small labelled pictures, written to a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vitdecomp._utils.progress import Progress
from vitdecomp.scenes import SceneDataset


def write_scenes(
    out: Path,
    *,
    n: int,
    seed: int,
    split: str,
    subset: str,
    word_probability: float,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write small labelled pictures.

    Returns:
        A summary in plain values.

    Raises:
        SpecError: no such split or subset, or no probability.
        OutputError: the folder holds something, or cannot be written.
    """
    data = SceneDataset(n, seed, split, subset, word_probability=word_probability)
    data.write(out, progress)
    counts = np.bincount(data.labels["target"], minlength=len(data.classes)).tolist()
    return {
        "out": str(out),
        "pictures": n,
        "seed": seed,
        "split": split,
        "subset": subset,
        "classes": dict(zip(data.classes, counts, strict=True)),
    }
