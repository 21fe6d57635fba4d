"""Pictures that are found by a text within one feature."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vitdecomp.demo.context import Context
from vitdecomp.demo.figure import Number, Sentence
from vitdecomp.demo.picture import data_uri
from vitdecomp.demo.section import Gallery, Picture, Row, Section, Table
from vitdecomp.demo.story import Step
from vitdecomp.metrics import precision_at_k
from vitdecomp.retrieval import Query, Retriever, Scope
from vitdecomp_alignment.demo.speech import Speech, Spoken, few, no_texts, speech

K, QUERIES = 10, 200
SHOWN = 6  # pictures that a text finds on the page
WORDS, PICTURES = "words", "pictures"


@dataclass(frozen=True, slots=True)
class Found:
    """Precision at 10 for one feature.

    Attributes:
        within: for each kind of query, in the feature. whole: in the whole embedding. chance: of any picture.
    """

    within: Mapping[str, float]
    whole: Mapping[str, float]
    chance: float


def search(context: Context) -> Section:
    """Ask for every value of every feature, in words and by pictures."""
    known = speech(context)
    retrievers = {s.subject.name: _retriever(s, known) for s in known.told}
    found = {s.subject.name: _measure(s, retrievers[s.subject.name], known, context.options.seed) for s in known.told}
    first = known.told[0]
    return Section(
        title="Search by one feature",
        finding=_finding(first.subject.name, found[first.subject.name]),
        blocks=(
            _table(first.subject.name, found[first.subject.name]),
            *_examples(first, retrievers[first.subject.name], known),
            *((_summary(found),) if len(found) > 1 else ()),
        ),
        how=Sentence(
            "Precision at {k} among the odd pictures, for the text of every value and for {queries} pictures. Within a "
            "feature only directions in which its texts differ count; the query is pulled back through the components’ "
            "maps. Outlined pictures have the value.",
            {"k": Number(K, "count"), "queries": Number(min(QUERIES, len(first.c)), "count")},
        ),
        repeat=context.options.command,
        key={f"precision@{K} by words": Number(_mean(found[first.subject.name], WORDS), "percent")},
    )


def known_features(context: Context) -> str:
    """Check whether it is known which images share a feature."""
    known = {*speech(context).features} <= {*context.world.labels}
    return "" if known else "it is not known which pictures share a feature"


def _retriever(spoken: Spoken, known: Speech) -> Retriever:
    return Retriever(
        spoken.c,
        aligner=spoken.aligner,
        scorer=spoken.scorer,
        texts=known.texts,
        encode_text=known.space,
        subspace="texts",
    )


def _measure(spoken: Spoken, retriever: Retriever, known: Speech, seed: int) -> dict[str, Found]:
    asked = np.random.default_rng(seed).permutation(len(spoken.c))[:QUERIES].tolist()
    found = {}
    for feature, words in known.features.items():
        labels = spoken.labels[feature]
        scopes = (Scope(feature), Scope())
        within, whole = ({**_precisions(retriever, scope, words, labels, asked)} for scope in scopes)
        _, counts = np.unique(labels, return_counts=True)
        found[feature] = Found(within, whole, float(np.square(counts / len(labels)).sum()))
    return found


def _precisions(
    retriever: Retriever, scope: Scope, words: tuple[str, ...], labels: np.ndarray, asked: list[int]
) -> dict[str, float]:
    k = min(K, len(labels) - 1)
    by_words = retriever.nearest([Query(text=word) for word in words], scope, k=k)[1]
    near = retriever.nearest([Query(image=row) for row in asked], scope, k=k + 1)[1]
    by_pictures = torch.stack([_others(rows, row)[:k] for rows, row in zip(near, asked, strict=True)])
    return {
        WORDS: float(precision_at_k(by_words, labels, np.arange(len(words)), k).mean()),
        PICTURES: float(precision_at_k(by_pictures, labels, labels[asked], k).mean()),
    }


def _others(rows: Tensor, own: int) -> Tensor:
    """Without the query itself."""
    return rows[rows != own]


def _mean(found: Mapping[str, Found], kind: str) -> float:
    return float(np.mean([one.within[kind] for one in found.values()]))


def _finding(model: str, found: Mapping[str, Found]) -> Sentence:
    return Sentence(
        "Asked for a value in words, {words} of the {k} nearest pictures within its feature have it on {model}, "
        "against {whole} in the whole embedding; asked by a picture, {pictures} against {other}.",
        {
            "model": model,
            "k": Number(K, "count"),
            "words": Number(_mean(found, WORDS), "percent"),
            "pictures": Number(_mean(found, PICTURES), "percent"),
            "whole": Number(float(np.mean([one.whole[WORDS] for one in found.values()])), "percent"),
            "other": Number(float(np.mean([one.whole[PICTURES] for one in found.values()])), "percent"),
        },
    )


def _table(model: str, found: Mapping[str, Found]) -> Table:
    rows = [
        Row(
            feature,
            tuple(
                Number(x, "percent")
                for x in (*(part[kind] for kind in (WORDS, PICTURES) for part in (one.within, one.whole)), one.chance)
            ),
        )
        for feature, one in found.items()
    ]
    columns = ("words, in the feature", "words, whole", "pictures, in the feature", "pictures, whole", "chance")
    return Table(f"Precision@{K} of {model}", "feature", columns, tuple(rows), heat=(0.0, 1.0))


def _summary(found: Mapping[str, Mapping[str, Found]]) -> Table:
    features = tuple(next(iter(found.values())))
    rows = [
        Row(model, tuple(Number(several[feature].within[WORDS], "percent") for feature in features))
        for model, several in found.items()
    ]
    return Table(f"Precision@{K} by words within the feature", "model", features, tuple(rows), heat=(0.0, 1.0))


def _examples(spoken: Spoken, retriever: Retriever, known: Speech) -> list[Gallery]:
    """Show what one text of every feature finds."""
    world, galleries = spoken.subject.world, []
    for i, (feature, words) in enumerate(known.features.items()):
        value = (2 * i + 1) % len(words)
        rows = retriever.nearest([Query(text=words[value])], Scope(feature), k=min(SHOWN, len(spoken.c)))[1][0].tolist()
        pictures = [
            Picture(data_uri(world.pictures[2 * row + 1]), world.names[2 * row + 1], hit=bool(right))
            for row, right in zip(rows, spoken.labels[feature][rows] == value, strict=True)
        ]
        galleries.append(Gallery(f"{feature}: “{words[value]}”", tuple(pictures)))
    return galleries


SEARCH = Step("search", "search by words", search, (no_texts, few, known_features), after="retrieval")
