"""Step 5: what a reader loses when the components of a factor are taken away."""

from __future__ import annotations

import numpy as np

from vitdecomp.demo.context import Context
from vitdecomp.demo.figure import Number, Sentence
from vitdecomp.demo.section import Row, Section, Table
from vitdecomp.demo.subject import REMOVED, Subject
from vitdecomp.metrics import Causal, causal_matrix


def causal(context: Context) -> Section:
    """Ablate the components of one factor, and measure all factors."""
    measured = {s.name: _measure(s, context.options.seed) for s in context.subjects}
    own = measured[context.featured.name]
    return Section(
        title="Taking a factor away",
        finding=Sentence(
            "Without its own {k} components, out of {n}, a factor of {model} loses {drop} of its decodability of "
            "{before}; the other factors lose {others}, and as many components at random cost {control}.",
            {
                "k": Number(_taken(context.featured), "count"),
                "n": Number(len(context.featured.contributions.components), "count"),
                "model": context.featured.name,
                **_means(own),
            },
        ),
        blocks=(
            _matrix(context.featured, own),
            *((_summary(context, measured),) if len(context.subjects) > 1 else ()),
            *(_matrix(s, measured[s.name], folded=True) for s in context.subjects[1:]),
        ),
        how=Sentence(
            "The chosen components are replaced by their mean over the pictures, in the sum; a classifier that was "
            "fitted to the whole representation then reads every factor, on other pictures than the choice was made "
            "with. Selectivity: what a factor loses by its own components, minus the mean of what the others lose."
        ),
        repeat=context.options.command,
        key={"selectivity of ablation": Number(float(own.selectivity.mean()), "signed")},
    )


def _measure(subject: Subject, seed: int) -> Causal:
    c, labels = subject.part(1)
    return causal_matrix(c, labels, subject.best(REMOVED), seed=seed)


def _taken(subject: Subject) -> int:
    return len(next(iter(subject.best(REMOVED).values())))


def _others(found: Causal) -> float:
    """Mean of what the other factors lose."""
    away = ~np.eye(len(found.factors), dtype=bool)
    return float(found.drop[away].mean()) if away.any() else float("nan")


def _means(found: Causal) -> dict[str, Number]:
    return {
        "before": Number(float(found.before.mean())),
        "drop": Number(float(found.drop.diagonal().mean())),
        "others": Number(_others(found)),
        "control": Number(float(found.control.mean())),
    }


def _matrix(subject: Subject, found: Causal, folded: bool = False) -> Table:
    rows = [
        Row(f"components of {factor}", tuple(Number(float(x), "signed") for x in -drop), "ablated")
        for factor, drop in zip(found.factors, found.drop, strict=True)
    ]
    rows.append(Row("as many at random", tuple(Number(float(-x), "signed") for x in found.control), "control"))
    worst = min(0.0, float((-found.drop).min()))
    return Table(
        f"Change of every factor’s decodability in {subject.name}",
        "taken away",
        found.factors,
        tuple(rows),
        heat=(0.0, worst),
        folded=folded,
    )


def _summary(context: Context, measured: dict[str, Causal]) -> Table:
    rows = [
        Row(s.name, (*_means(measured[s.name]).values(), Number(float(measured[s.name].selectivity.mean()), "signed")))
        for s in context.subjects
    ]
    columns = ("decodability before", "lost by the factor", "lost by the others", "lost at random", "selectivity")
    return Table("All models, the mean over the factors", "model", columns, tuple(rows))
