"""Step 4: retrieval by the components of one factor."""

from __future__ import annotations

import numpy as np

from vitdecomp.demo.context import Context
from vitdecomp.demo.figure import Number, Sentence
from vitdecomp.demo.picture import data_uri
from vitdecomp.demo.section import Picture, Row, Section, Strips, Table
from vitdecomp.demo.subject import Subject
from vitdecomp.demo.world import World
from vitdecomp.metrics import FeaturePrecision, feature_precision, retrieve

K, QUERIES = 10, 200
SHOWN, ASKED = 6, 3  # pictures in a row, queries on the page
FACTORS = ("shape", "colour", "pattern", "location", "class")


def retrieval(context: Context) -> Section:
    """Pictures that are near within a factor's components, against those near in the whole embedding."""
    precision = {s.name: _precision(s, context.options.seed) for s in context.subjects}
    own = precision[context.featured.name]
    return Section(
        title="Retrieval by one factor",
        finding=_finding(context.featured.name, own),
        blocks=(
            _table(context.featured, own, folded=False),
            *_examples(context.featured, context.options.seed),
            *(_table(s, precision[s.name], folded=True) for s in context.subjects[1:]),
        ),
        how=Sentence(
            "Precision at {k} over {queries} queries, by the cosine of centered vectors. The components of a factor "
            "were chosen on other pictures: those that know it most before all other factors. Outlined pictures "
            "share the query’s value.",
            {"k": Number(K, "count"), "queries": Number(_queries(context.featured), "count")},
        ),
        repeat=context.options.command,
        key={f"precision@{own.k} by factor": Number(float(own.chosen.mean()), "percent")},
    )


def _finding(model: str, own: FeaturePrecision) -> Sentence:
    gain = own.chosen - own.everything
    most, least = int(gain.argmax()), int(gain.argmin())
    spread = "; the gain is {least} for the {poor} to {most} for the {rich}" if len(own.factors) > 1 else ""
    return Sentence(
        "By the components of one factor of {model}, {chosen} of the {k} nearest pictures share the query’s value, "
        "against {everything} by the whole embedding and {chance} by chance" + spread + ".",
        {
            "model": model,
            "chosen": Number(float(own.chosen.mean()), "percent"),
            "k": Number(own.k, "count"),
            "everything": Number(float(own.everything.mean()), "percent"),
            "chance": Number(float(own.chance.mean()), "percent"),
            "least": Number(float(gain[least]), "points"),
            "poor": own.factors[least],
            "most": Number(float(gain[most]), "points"),
            "rich": own.factors[most],
        },
    )


def _queries(subject: Subject) -> int:
    return min(QUERIES, len(subject.part(1)[0]))


def _shown(subject: Subject) -> list[str]:
    return [factor for factor in FACTORS if factor in subject.chosen]


def _precision(subject: Subject, seed: int) -> FeaturePrecision:
    c, labels = subject.part(1)
    components = {factor: subject.chosen[factor] for factor in _shown(subject)}
    return feature_precision(c, labels, components, k=min(K, len(c) - 1), queries=QUERIES, seed=seed)


def _table(subject: Subject, precision: FeaturePrecision, folded: bool) -> Table:
    rows = [
        Row(factor, tuple(Number(x, "percent") for x in (*across, everything, chance)))
        for factor, across, everything, chance in zip(
            precision.factors, precision.across.tolist(), precision.everything, precision.chance, strict=True
        )
    ]
    columns = (*(f"same {factor}" for factor in precision.factors), "whole embedding", "chance")
    return Table(
        f"Precision@{precision.k} of {subject.name} by the components of one factor",
        "components of",
        columns,
        tuple(rows),
        heat=(0.0, 1.0),
        folded=folded,
    )


def _examples(subject: Subject, seed: int) -> list[Strips]:
    """Show a few queries with what each factor's components find, and what the whole finds."""
    c, _ = subject.part(1)
    factors, k = _shown(subject), min(SHOWN, len(c) - 1)
    order = np.random.default_rng(seed).permutation(len(c))
    asked = (np.array(subject.world.examples(2 * order + 1, ASKED)) - 1) // 2
    found = {factor: retrieve(c, subject.chosen[factor], k, asked) for factor in factors}
    whole = retrieve(c, None, k, asked)
    strips = []
    for i, query in enumerate(asked.tolist()):
        place = 2 * query + 1
        rows = [
            (f"{factor}: {subject.world.value(factor, place)}", _row(subject.world, found[factor][i], place, factor))
            for factor in factors
        ]
        rows.append(("whole embedding", _row(subject.world, whole[i], place, None)))
        first = Picture(
            data_uri(subject.world.pictures[place]),
            subject.world.names[place],
            Sentence("{name}", {"name": subject.world.names[place]}),
        )
        strips.append(Strips(f"Query {i + 1}", first, tuple(rows)))
    return strips


def _row(world: World, hits: np.ndarray, query: int, factor: str | None) -> tuple[Picture, ...]:
    places = [2 * int(hit) + 1 for hit in hits]
    return tuple(_found(world, place, query, factor) for place in places)


def _found(world: World, place: int, query: int, factor: str | None) -> Picture:
    source, name = data_uri(world.pictures[place]), world.names[place]
    if factor is None:
        return Picture(source, name)
    hit = bool(world.labels[factor][place] == world.labels[factor][query])
    return Picture(source, f"{name} ({'the same' if hit else 'another'} {factor})", hit=hit)
