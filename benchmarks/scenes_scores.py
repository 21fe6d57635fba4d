"""How well scores by texts choose components, where the truth is known: `python benchmarks/scenes_scores.py`.

Maps to scenes:clip are fitted to all scenes, by its vectors of them and without labels. Scores and choices are made
from one half of the scenes, and judged by the labels of the other.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from PIL import Image
from scipy.stats import spearmanr
from vitdecomp_alignment import ClipSpace, ClosedForm
from vitdecomp_alignment.texts import scene_features

import vitdecomp as vd
from vitdecomp.prepare import Request, prepare
from vitdecomp.scenes import SceneDataset
from vitdecomp.truth import causal_matrix, component_decodability, feature_precision

CLIP = "scenes:clip"
MODELS = (CLIP, "scenes:deit", "scenes:dino", "scenes:swin", "scenes:maxvit")
FEW = 100  # components from which on the paper takes nine for a feature, and not three
# How components are chosen -> settings of the scorer, number of components, way of choosing.
CHOICES: Mapping[str, tuple[Mapping[str, str], bool, str]] = {
    "margin, k": ({}, False, "margin"),
    "margin, k, centred": ({"centre": "feature"}, False, "margin"),
    "margin, k, pooled": ({"centre": "feature", "measure": "pooled"}, False, "margin"),
    "margin, auto": ({}, True, "margin"),
    "margin, auto, centred": ({"centre": "feature"}, True, "margin"),
    "agreement, k": ({}, False, "agreement"),
    "agreement, auto": ({}, True, "agreement"),
}


def taken_apart(spec: str, pictures: Sequence[Image.Image], size: int = 50) -> vd.Contributions:
    ready = prepare(Request(spec))
    dec = vd.Decomposer(ready.loaded).fit(ready.batch(pictures[:1]))
    parts = [dec.transform(ready.batch(pictures[i : i + size])) for i in range(0, len(pictures), size)]
    values, error = (torch.cat([getattr(part, key) for part in parts]).cpu() for key in ("values", "error"))
    return vd.Contributions(values, parts[0].components, error, origin=parts[0].origin)


def measure(c: vd.Contributions, words: Mapping[str, torch.Tensor], labels: Mapping[str, np.ndarray]) -> None:
    half = len(c) // 2
    seen, judged = c.take(range(half)), c.take(range(half, len(c)))
    truth = {name: labels[name][half : len(c)] for name in words}
    known = component_decodability(judged, truth)
    computed = [not component.is_constant for component in c.components]
    k = 3 if sum(computed) < FEW else 9
    for name, (settings, auto, by) in CHOICES.items():
        scorer = vd.FeatureScorer(bootstrap=0, shuffles=0, **settings).fit(seen, words)
        own = [spearmanr(scorer.scores_[i, computed], known.of(f)[computed])[0] for i, f in enumerate(words)]
        chosen = {f: scorer.top(f, "auto" if auto else k, by=by) for f in words}
        found, lost = feature_precision(judged, truth, chosen), causal_matrix(judged, truth, chosen)
        drop = lost.drop.diagonal()
        others = (lost.drop.sum(1) - drop) / (len(words) - 1)
        sizes = f"{k}" if not auto else "/".join(str(len(some)) for some in chosen.values())
        figures = [*found.chosen, found.chosen.mean(), found.everything.mean(), np.mean(own)]
        figures += [drop.mean(), others.mean(), lost.control.mean()]
        print(f"| {name} | {sizes} | " + " | ".join(f"{value:.2f}" for value in figures) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    data = SceneDataset(options.n, options.seed, "test")
    pictures = [Image.fromarray(picture) for picture in data.arrays(range(options.n))]
    space = ClipSpace(CLIP)
    words = {name: space.encode_text(texts).cpu() for name, texts in scene_features().items()}
    target = space.encode_image(pictures).cpu()
    heads = [*words, "mean P@10", "whole", "Spearman", "own drop", "others' drop", "random drop"]
    for spec in options.models:
        c = taken_apart(spec, pictures)
        if spec != CLIP:
            c = ClosedForm().fit(c, target).transform(c)
        print(f"\n{spec}\n\n| chosen by | k | {' | '.join(heads)} |\n|{'---|' * (len(heads) + 2)}")
        measure(c, words, data.labels)


if __name__ == "__main__":
    main()
