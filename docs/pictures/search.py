"""More like one image, in one feature at a time: `docs/images/search.png`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from style import FAINT, FEATURES, LINE, figure, save, show
from vitdecomp_alignment import ClosedForm
from world import clip, features, picture, scenes, seen, vectors

import vitdecomp as vd
from vitdecomp.scenes import SceneDataset

MODEL, N, HITS = "scenes:dino", 1200, 6
QUERY = 3  # the image of the picture: a row of the half that is searched
QUERIES = 100  # images that the shares are a mean over
SHOWN = ("shape", "colour", "pattern", "location")


def draw() -> Path:
    """Search half of the scenes by images; maps and scores are of the other half."""
    data = scenes(N)
    (subject,) = seen(MODEL, data)
    learned, c = subject.c.take(range(0, N, 2)), subject.c.take(range(1, N, 2))
    aligner = ClosedForm(prior="own").fit(learned, vectors(data)[0::2])
    scorer = vd.FeatureScorer(center="feature", bootstrap=0, shuffles=0).fit(aligner.transform(learned), features())
    retriever = vd.Retriever(c, aligner=aligner, scorer=scorer, texts=features(), encode_text=clip(), subspace="texts")
    drawn = figure(4.4)
    show(drawn.add_axes((0.012, 0.34, 0.17, 0.34)), picture(data, 2 * QUERY + 1))
    drawn.text(0.097, 0.71, "more like this", ha="center", fontsize=11)
    plain = nearest(retriever, "")
    for number, feature in enumerate(SHOWN):
        rows = nearest(retriever, feature)
        labels = data.labels[feature][1::2]
        value = data.scene(2 * QUERY + 1).values[feature]
        counted = f"{share(rows, labels):.0%} of hits share it"
        strip(drawn, number, (f"in {feature}", value, counted), FEATURES[feature], rows[QUERY], data)
        mark(drawn, labels[rows[QUERY]] == labels[QUERY], FEATURES[feature])
        drawn.text(0.2, bottom(number) + 0.0, f"(plain: {share(plain, labels):.0%})", color=FAINT, fontsize=8)
    strip(drawn, len(SHOWN), ("in everything", "plain embedding", ""), FAINT, plain[QUERY], data)
    mark(drawn, np.zeros(HITS, bool), LINE)
    return save(drawn, "search")


def nearest(retriever: vd.Retriever, feature: str) -> np.ndarray:
    """Return the nearest rows of the first images, without the images themselves."""
    queries = [vd.Query(image=row) for row in range(QUERIES)]
    rows = retriever.nearest(queries, vd.Scope(feature or None), k=HITS + 1)[1].numpy()
    return np.stack([found[found != own][:HITS] for own, found in enumerate(rows)])


def share(rows: np.ndarray, labels: np.ndarray) -> float:
    """Compute how many of the hits have the value of their query."""
    return float((labels[rows] == labels[: len(rows), None]).mean())


def bottom(number: int) -> float:
    """Return where a row of hits ends."""
    return 0.807 - 0.199 * number


def strip(
    drawn: Figure, number: int, words: tuple[str, str, str], color: str, rows: np.ndarray, data: SceneDataset
) -> None:
    """Draw the hits of one search behind its words."""
    y = bottom(number)
    drawn.text(0.2, y + 0.14, words[0], fontsize=10.5, weight="bold")
    drawn.text(0.2, y + 0.09, words[1], color=color, fontsize=9.5)
    drawn.text(0.2, y + 0.045, words[2], color=FAINT, fontsize=8)
    for place, row in enumerate(rows):
        show(drawn.add_axes((0.37 + 0.105 * place, y, 0.09, 0.18)), picture(data, 2 * int(row) + 1))


def mark(drawn: Figure, same: np.ndarray, color: str) -> None:
    """Frame those of the last hits that share the value."""
    for axes, shared in zip(drawn.axes[-HITS:], same, strict=True):
        axes.spines[:].set(visible=bool(shared), color=color, linewidth=2.6)
