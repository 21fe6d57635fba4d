"""Which components carry a feature, by words alone, and whether that is so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vitdecomp.demo.context import Context
from vitdecomp.demo.figure import Number, Sentence
from vitdecomp.demo.section import Row, Section, Table
from vitdecomp.demo.story import Step
from vitdecomp.score import FeatureScorer
from vitdecomp_alignment.demo.speech import Spoken, few, no_texts, speech

TOP = 5  # components of a feature that are shown
# A mean rank correlation from which on an order is called so.
LIKENESS = (
    (0.6, "much as probes do that were given labels"),
    (0.3, "somewhat as probes do that were given labels"),
    (-1.0, "otherwise than probes do that were given labels"),
)


def scores(context: Context) -> Section:
    """Score every component for every feature, and compare that with what can be read from it."""
    known = speech(context)
    first, truth = known.told[0], known.told[0].subject.world.labels
    agree = {s.subject.name: _agreement(s) for s in known.told} if truth else {}
    return Section(
        title="Which part carries what",
        finding=_finding(first, agree),
        blocks=(_table(first.scorer, first.subject.name), *((_truth(agree),) if agree else ())),
        how=Sentence(
            "Score: the mean, over directions that the words of a feature span, of the correlation of a component’s "
            "projection with the total’s, on the even pictures. Shown are the {top} components of every feature whose "
            "score is highest above that for any other feature. Agreement: Spearman’s correlation of scores with what "
            "a linear probe, which has the labels, reads from each component alone.",
            {"top": Number(TOP, "count")},
        ),
        repeat=context.options.command,
        key={"scores against probes": Number(_mean(agree[first.subject.name]))} if agree else {},
    )


def _finding(first: Spoken, agree: Mapping[str, Mapping[str, float]]) -> Sentence:
    name = first.subject.name
    if not agree:
        return Sentence("The components of {model} that stand for a feature, found by words.", {"model": name})
    return Sentence(
        f"Words order the components of {{model}} {_likeness(_mean(agree[name]))}: rank correlation {{mean}}, from "
        "{least} for the {poor} to {most} for the {rich}.",
        {
            "model": name,
            "mean": Number(_mean(agree[name])),
            **{key: Number(pick(agree[name].values())) for key, pick in (("least", min), ("most", max))},
            "poor": min(agree[name], key=agree[name].__getitem__),
            "rich": max(agree[name], key=agree[name].__getitem__),
        },
    )


def _likeness(correlation: float) -> str:
    """Say in words what a rank correlation means."""
    return next((words for least, words in LIKENESS if correlation >= least), LIKENESS[-1][1])  # NaN, too


def _agreement(spoken: Spoken) -> dict[str, float]:
    """Rank correlation of scores with what probes read, by feature."""
    from scipy.stats import spearmanr

    scorer, known = spoken.scorer, spoken.subject.knowledge
    place = {component: i for i, component in enumerate(known.components)}
    both = [(i, place[c]) for i, c in enumerate(scorer.components_) if c in place and not c.is_constant]
    mine, theirs = (np.array(column) for column in zip(*both, strict=True))
    found: dict[str, float] = {}
    for row, feature in enumerate(scorer.features_):
        if feature in known.factors:
            result: Any = spearmanr(scorer.scores_[row][mine], known.of(feature)[theirs])
            found[feature] = float(result.statistic)
    return found


def _mean(values: Mapping[str, float]) -> float:
    return float(np.mean(list(values.values())))


def _table(scorer: FeatureScorer, model: str) -> Table:
    place = {component: i for i, component in enumerate(scorer.components_)}
    rows = [
        Row(component.name, tuple(Number(float(x)) for x in scorer.scores_[:, place[component]]), f"of the {feature}")
        for feature in scorer.features_
        for component in scorer.top(feature, min(TOP, len(scorer.choice_.able)))
    ]
    highest = float(np.max(scorer.scores_))
    title = f"Scores of components of {model}"
    return Table(title, "component", scorer.features_, tuple(rows), heat=(0.0, highest), grouped=True)


def _truth(agree: Mapping[str, Mapping[str, float]]) -> Table:
    features: Sequence[str] = tuple(next(iter(agree.values())))
    rows = [Row(name, tuple(Number(found[feature]) for feature in features)) for name, found in agree.items()]
    return Table("Agreement of scores with probes", "model", tuple(features), tuple(rows), heat=(0.0, 1.0))


SCORES = Step("scores", "components by features", scores, (no_texts, few), after="words")
