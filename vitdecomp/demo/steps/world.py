"""Step 1: the pictures."""

from __future__ import annotations

from vitdecomp.demo.context import Context
from vitdecomp.demo.figure import Number, Sentence
from vitdecomp.demo.picture import data_uri
from vitdecomp.demo.section import Gallery, Picture, Row, Section, Table
from vitdecomp.demo.world import World

SHOWN = 24


def world(context: Context) -> Section:
    """Show the images, with what is known of them."""
    pictures = context.world
    few = pictures.some(SHOWN)
    sheet = Gallery("Some of the pictures", tuple(_picture(few, i) for i in range(len(few))))
    return Section(
        title="The pictures",
        finding=_finding(pictures),
        blocks=(sheet, _factors(pictures)) if pictures.labels else (sheet,),
        how=Sentence("{source}.", {"source": pictures.source[:1].upper() + pictures.source[1:]}),
        repeat=_repeat(context),
        key={"pictures": Number(len(pictures), "count")},
    )


def _finding(pictures: World) -> Sentence:
    count = Number(len(pictures), "count")
    if not pictures.labels:
        return Sentence(
            "{n} pictures of which nothing is known but the pixels: {why}.", {"n": count, "why": pictures.unknown}
        )
    factors: dict[str, Number | str] = {
        "n": count,
        "factors": Number(len(pictures.labels), "count"),
        "names": ", ".join(pictures.labels),
    }
    if pictures.masks is None:
        return Sentence("{n} pictures, labelled by the names of their folders.", factors)
    return Sentence(
        "Each of the {n} pictures is drawn from {factors} independent factors ({names}), so that what a component "
        "sees can be checked against the truth.",
        factors,
    )


def _picture(pictures: World, index: int) -> Picture:
    name = pictures.names[index]
    facts = ", ".join(pictures.value(factor, index) for factor in pictures.labels)
    caption = Sentence("{name}", {"name": name})
    return Picture(data_uri(pictures.pictures[index]), name, caption, facts=facts)


def _factors(pictures: World) -> Table:
    rows = [
        Row(factor, (Number(len(pictures.values[factor]), "count"), ", ".join(pictures.values[factor])))
        for factor in pictures.labels
    ]
    return Table("Factors", "factor", ("values", "names"), tuple(rows), prose=True)


def _repeat(context: Context) -> str:
    seed = context.options.seed
    return (
        f"vitdecomp scenes --out scenes --split test --seed {seed}"
        if context.options.images is None
        else (context.options.command)
    )
