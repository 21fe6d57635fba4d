"""Every model's components in words, and how true the words are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from vitdecomp.contributions import Contributions
from vitdecomp.demo.context import Context
from vitdecomp.demo.figure import Number, Sentence
from vitdecomp.demo.section import Row, Section, Table
from vitdecomp.demo.shares import by_block
from vitdecomp.demo.story import Step
from vitdecomp_alignment.clip.space import ClipSpace
from vitdecomp_alignment.demo.speech import Spoken, few, no_texts, speech
from vitdecomp_alignment.demo.tokens import token_pages
from vitdecomp_alignment.evaluation.naming import Agreement, FactorWords, agreement, first_factors, read
from vitdecomp_alignment.texts import general_texts
from vitdecomp_alignment.textspan.textspan import TextSpan

TOLD = 3  # texts for a component
SIZE_OF_POOL = 800  # of general texts, where nothing is known of the pictures


@dataclass(frozen=True, slots=True, eq=False)
class Named:
    """One model in words.

    Attributes:
        spoken: the model. c: the contributions to the odd pictures in CLIP's space.
        span: the texts of every component, chosen by the odd pictures.
    """

    spoken: Spoken
    c: Contributions
    span: TextSpan

    @property
    def name(self) -> str:
        """The model's spec."""
        return self.spoken.subject.name


def words(context: Context) -> Section:
    """Name every model's components on the odd pictures."""
    known = speech(context)
    about, space = known.about, known.space
    readers, pool = about.readers, tuple(about.factor_of) or _general()
    vectors = about.vectors if readers else space.encode_text(pool).cpu()
    told = [_named(spoken, vectors, pool) for spoken in known.told]
    first = told[0]
    true = {s.name: _agreement(s, about) for s in told} if readers else {}
    right = {s.name: read(s.c.total(), s.spoken.labels, readers) for s in told}
    itself = read(first.spoken.whole, first.spoken.labels, readers)
    return Section(
        title="Its parts in words",
        finding=_finding(first, space, true, right),
        blocks=(
            *((_zero_shot(told, right, itself, space),) if readers else ()),
            *((_truth(true),) if readers else ()),
            *(_labels(s, folded=s is not first) for s in told),
        ),
        how=Sentence(
            "One linear map for each component, in closed form from the even pictures, takes contributions into the "
            "space of {clip}. On the odd pictures, the texts of a component are those along which it varies most "
            "(TextSpan), out of {pool}. Zero-shot: the nearest text to the sum of the mapped contributions. Factors "
            "that {clip} itself cannot tell by words are left out.",
            {"clip": space.spec, "pool": Number(len(pool), "count")},
        ),
        repeat=context.options.command,
        key=_key(first, true, right),
        pages=token_pages(context, space, pool),
    )


def _agreement(named: Named, about: FactorWords) -> Agreement:
    return agreement(first_factors(named.span, about.factor_of), named.spoken.subject.knowledge, about.readers)


def _general() -> tuple[str, ...]:
    """Texts where nothing is known of the pictures."""
    everything = general_texts()
    return everything[:: max(1, len(everything) // SIZE_OF_POOL)]


def _named(spoken: Spoken, vectors: Tensor, labels: tuple[str, ...]) -> Named:
    mapped = spoken.mapped()
    return Named(spoken, mapped, TextSpan(m=TOLD).fit(mapped, vectors, labels))


def _finding(
    first: Named, space: ClipSpace, true: Mapping[str, Agreement], right: Mapping[str, Mapping[str, float]]
) -> Sentence:
    model = first.name
    if not true:
        return Sentence("The components of {model} in the words of {clip}.", {"model": model, "clip": space.spec})
    found = true[model]
    return Sentence(
        "In the words of {clip}, which {model} has never seen, its representation is read right {read} of the time; "
        "the first text of a component speaks of the factor that it knows best for {rate} of {n} components, against "
        "{chance} by chance.",
        {
            "clip": space.spec,
            "model": model,
            "read": Number(float(np.mean(list(right[model].values()))), "percent"),
            "rate": Number(found.rate, "percent"),
            "n": Number(found.components, "count"),
            "chance": Number(found.chance, "percent"),
        },
    )


def _key(first: Named, true: Mapping[str, Agreement], right: Mapping[str, Mapping[str, float]]) -> dict[str, Number]:
    if not true:
        return {}
    model = first.name
    return {
        "zero-shot by words": Number(float(np.mean(list(right[model].values()))), "percent"),
        "components named rightly": Number(true[model].rate, "percent"),
    }


def _zero_shot(
    told: list[Named], right: Mapping[str, Mapping[str, float]], own: Mapping[str, float], space: ClipSpace
) -> Table:
    rows = [
        Row(s.name, tuple(Number(x, "percent") for x in right[s.name].values())) for s in told if s.name != space.spec
    ]
    rows.append(Row(f"{space.spec} itself", tuple(Number(x, "percent") for x in own.values())))
    return Table("Read by words alone", "model", tuple(own), tuple(rows), (0.0, 1.0))


def _truth(true: Mapping[str, Agreement]) -> Table:
    rows = [
        Row(name, (Number(found.components, "count"), Number(found.rate, "percent"), Number(found.chance, "percent")))
        for name, found in true.items()
    ]
    columns = ("components that know a factor", "named by this factor", "by chance")
    return Table("Whether the words are true", "model", columns, tuple(rows))


def _labels(named: Named, folded: bool) -> Table:
    spread = named.c.values.double().var(0).sum(1)
    share = spread / spread.sum().clamp(min=1e-300)
    rows = [
        Row(
            component.name,
            (Number(float(share[i]), "percent"), Number(float(span.explained.sum()), "percent"), ", ".join(texts)),
            by_block(component),
            component.name.removeprefix(f"{component.block}."),
        )
        for i, (component, span, texts) in enumerate(
            zip(named.span.components_, named.span.spans_, named.span.labels_ or (), strict=True)
        )
        if texts and not component.is_constant
    ]
    columns = ("share of the variance", "explained by", "texts")
    title = f"The components of {named.name} in words"
    return Table(title, "component", columns, tuple(rows), folded=folded, tall=True, grouped=True, prose=True)


WORDS = Step("words", "components in words", words, (no_texts, few), after="knowledge")
