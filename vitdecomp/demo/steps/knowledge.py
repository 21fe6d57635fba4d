"""Step 3: what each component knows."""

from __future__ import annotations

import numpy as np

from vitdecomp.component import Component
from vitdecomp.demo.context import Context
from vitdecomp.demo.figure import Number, Sentence
from vitdecomp.demo.section import Row, Section, Table
from vitdecomp.demo.shares import by_block
from vitdecomp.demo.subject import Subject
from vitdecomp.metrics import decodability

WARM = (0.0, 1.0)


def knowledge(context: Context) -> Section:
    """Return how well every factor can be read from every component alone."""
    featured = context.featured
    best = {factor: float(featured.knowledge.of(factor).max()) for factor in featured.knowledge.factors}
    surest = max(best, key=lambda factor: best[factor])
    several = "{experts} different components of {model} know the {factors} factors best; the surest is {component}, "
    return Section(
        title="What each component knows",
        finding=Sentence(
            (several if len(best) > 1 else "The component of {model} that knows most is {component}, ")
            + "from which alone the {factor} is read with a score of {score}, where {whole} is read from the whole.",
            {
                "experts": Number(len({_expert(featured, factor) for factor in best}), "count"),
                "model": featured.name,
                "factors": Number(len(best), "count"),
                "component": _expert(featured, surest).name,
                "factor": surest,
                "score": Number(best[surest]),
                "whole": Number(_whole(featured, surest)),
            },
        ),
        blocks=(
            _experts(featured),
            _matrix(featured, folded=False),
            *(_matrix(s, folded=True) for s in context.subjects[1:]),
            *((_comparison(context),) if len(context.subjects) > 1 else ()),
        ),
        how=Sentence(
            "A ridge classifier reads the factor from one component’s contribution, on pictures that it was not "
            "fitted to: 0 is chance, 1 is always right. Constants know nothing and are left out."
        ),
        repeat=context.options.command,
    )


def _expert(subject: Subject, factor: str) -> Component:
    return subject.knowledge.ranking(factor)[0]


def _whole(subject: Subject, factor: str) -> float:
    """Score the whole representation as a component is scored."""
    c, labels = subject.part(0)
    return decodability(c.total(), labels[factor]).score


def _experts(subject: Subject) -> Table:
    rows = [
        Row(
            factor,
            (
                _expert(subject, factor).name,
                Number(float(subject.knowledge.of(factor).max())),
                Number(_whole(subject, factor)),
            ),
        )
        for factor in subject.knowledge.factors
    ]
    columns = ("best component", "its score", "score of the whole")
    return Table(f"Who knows what in {subject.name}", "factor", columns, tuple(rows))


def _comparison(context: Context) -> Table:
    """For every model, the best component of each factor beside the whole representation."""
    rows = []
    for subject in context.subjects:
        known = subject.knowledge
        alone = tuple(Number(float(known.of(factor).max())) for factor in known.factors)
        together = tuple(Number(_whole(subject, factor)) for factor in known.factors)
        rows += [Row("best component", alone, subject.name), Row("whole representation", together, subject.name)]
    factors = context.featured.knowledge.factors
    return Table(
        "All models: the best component alone, and the whole", "read from", factors, tuple(rows), WARM, grouped=True
    )


def _matrix(subject: Subject, folded: bool) -> Table:
    known = subject.knowledge
    rows = [
        Row(
            component.name,
            tuple(Number(float(score)) for score in scores),
            by_block(component),
            component.name.removeprefix(f"{component.block}."),
        )
        for component, scores in zip(known.components, np.asarray(known.scores), strict=True)
        if not component.is_constant
    ]
    title = f"All components of {subject.name}"
    return Table(title, "component", known.factors, tuple(rows), WARM, folded=folded, tall=True, grouped=True)
