"""A step of the demo: every model's components in words, and how true the words are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from vitdecomp.contributions import Contributions
from vitdecomp.demo.context import Context
from vitdecomp.demo.figure import Number, Sentence
from vitdecomp.demo.section import Row, Section, Table
from vitdecomp.demo.shares import by_block
from vitdecomp.demo.story import Step
from vitdecomp.demo.subject import Subject
from vitdecomp.files import cache_directory
from vitdecomp_alignment.clip_space import ClipSpace
from vitdecomp_alignment.closed_form import ClosedForm
from vitdecomp_alignment.naming import Agreement, FactorWords, Labels, agreement, read
from vitdecomp_alignment.texts import general_texts
from vitdecomp_alignment.textspan import TextSpan

TOLD = 3  # texts for a component
KEPT = 2 / 3  # of the closeness to CLIP; more makes names less true
SIZE_OF_POOL = 800  # of general texts, where nothing is known of the pictures


@dataclass(frozen=True, slots=True)
class Spoken:
    """One model in words.

    Attributes:
        subject: the model. c: the contributions to the odd pictures in CLIP's space. whole: CLIP's own vectors.
        span: the texts of every component, chosen by the odd pictures. labels: the truth of these pictures.
    """

    subject: Subject
    c: Contributions
    whole: Float[Tensor, "n d"]
    span: TextSpan
    labels: Labels


def words(context: Context) -> Section:
    """Align every model with CLIP on the even pictures, and name its components on the odd ones."""
    space = speaker(context)
    seen = space.encode_image(list(context.world.pictures)).cpu()
    about = FactorWords.of(space, seen, context.world.labels)
    readers, pool = about.readers, tuple(about.factor_of) or _general()
    vectors = about.vectors if readers else space.encode_text(pool).cpu()
    place = {id(picture): i for i, picture in enumerate(context.world.pictures)}
    told = []
    for subject in context.subjects:
        own = seen[[place[id(picture)] for picture in subject.world.pictures]]
        told.append(_spoken(subject, own, space, vectors, pool))
    first = told[0]
    true = {s.subject.name: agreement(s.span, s.subject.knowledge, about.factor_of) for s in told} if readers else {}
    right = {s.subject.name: read(s.c.total(), s.labels, readers) for s in told}
    return Section(
        title="Its parts in words",
        finding=_finding(first, space, true, right),
        blocks=(
            *((_zero_shot(told, right, read(first.whole, first.labels, readers), space),) if readers else ()),
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
    )


def no_texts(context: Context) -> str:
    """There are texts to speak in."""
    return "" if context.options.speaker else "no CLIP was given (--clip names one)"


def few(context: Context) -> str:
    """There are pictures enough to learn maps from."""
    return "" if len(context.world) >= 40 else "maps into CLIP's space need 40 pictures"


def speaker(context: Context) -> ClipSpace:
    """The model whose texts are used."""
    spec, random = str(context.options.speaker), context.options.random_weights
    same = [s.ready.loaded for s in context.subjects if s.name == spec]
    return ClipSpace(same[0] if same else spec, device="cpu", pretrained=not random, cache=cache_directory() / "texts")


def _general() -> tuple[str, ...]:
    """Texts where nothing is known of the pictures."""
    everything = general_texts()
    return everything[:: max(1, len(everything) // SIZE_OF_POOL)]


def _spoken(subject: Subject, seen: Tensor, space: ClipSpace, vectors: Tensor, labels: tuple[str, ...]) -> Spoken:
    learned, (c, truth) = subject.part(0)[0], subject.part(1)
    own = subject.name == space.spec
    mapped = c if own else ClosedForm(keep=KEPT).fit(learned, seen[0::2]).transform(c)
    return Spoken(subject, mapped, seen[1::2], TextSpan(m=TOLD).fit(mapped, vectors, labels), truth)


def _finding(
    first: Spoken, space: ClipSpace, true: Mapping[str, Agreement], right: Mapping[str, Mapping[str, float]]
) -> Sentence:
    model = first.subject.name
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


def _key(first: Spoken, true: Mapping[str, Agreement], right: Mapping[str, Mapping[str, float]]) -> dict[str, Number]:
    if not true:
        return {}
    model = first.subject.name
    return {
        "zero-shot by words": Number(float(np.mean(list(right[model].values()))), "percent"),
        "components named rightly": Number(true[model].rate, "percent"),
    }


def _zero_shot(
    told: list[Spoken], right: Mapping[str, Mapping[str, float]], own: Mapping[str, float], space: ClipSpace
) -> Table:
    rows = [
        Row(s.subject.name, tuple(Number(x, "percent") for x in right[s.subject.name].values()))
        for s in told
        if s.subject.name != space.spec
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


def _labels(spoken: Spoken, folded: bool) -> Table:
    spread = spoken.c.values.double().var(0).sum(1)
    share = spread / spread.sum().clamp(min=1e-300)
    rows = [
        Row(
            component.name,
            (Number(float(share[i]), "percent"), Number(float(span.explained.sum()), "percent"), ", ".join(texts)),
            by_block(component),
            component.name.removeprefix(f"{component.block}."),
        )
        for i, (component, span, texts) in enumerate(
            zip(spoken.span.components_, spoken.span.spans_, spoken.span.labels_ or (), strict=True)
        )
        if texts and not component.is_constant
    ]
    columns = ("share of the variance", "explained by", "texts")
    title = f"The components of {spoken.subject.name} in words"
    return Table(title, "component", columns, tuple(rows), folded=folded, tall=True, grouped=True, prose=True)


WORDS = Step("words", "components in words", words, (no_texts, few), after="knowledge")
