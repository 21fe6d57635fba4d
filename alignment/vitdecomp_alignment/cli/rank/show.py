"""Scores of components set out for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan
from typing import Any

from rich.console import Console
from rich.table import Table

from vitdecomp._utils.console import make_table, print_table
from vitdecomp.score import Quality
from vitdecomp_alignment.cli.rank.rankings import RankResult

HEADINGS = ("component", "score", "interval", "margin", "by chance", "p")


def show_ranking(console: Console, ranked: RankResult) -> None:
    """Print the components of every feature, and the quality of the scores if it was measured."""
    console.print(
        f"{ranked.model} in words of {ranked.clip}: {ranked.images:,} images, "
        f"{len(ranked.scorer.components_)} components"
    )
    others = [name for name in ranked.words.words if name not in ranked.chosen]
    if others:
        console.print(f"compared with {', '.join(others)}")
    for feature in ranked.chosen:
        console.print()
        print_table(console, _components(ranked, feature))
    if ranked.quality is not None:
        console.print()
        print_table(console, _quality(ranked.quality))


def _components(ranked: RankResult, feature: str) -> Table:
    title = f"{feature}: {', '.join(ranked.words.words[feature])}"
    table = make_table(*HEADINGS, words={"component"}, title=title)
    for row in ranked.rows(feature):
        table.add_row(*_cells(row))
    return table


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    low, high = (_written(end, ".2f") for end in row["interval"])
    figures = (_written(row["score"]), f"{low}-{high}", _written(row["margin"], "+.3f"), _written(row["chance"]))
    return row["component"], *figures, _written(row["p_value"])


def _quality(quality: Quality) -> Table:
    title, first = "Spearman of scores with how well components rank images", "over components, for"
    table = make_table(first, "correlation", words={first}, title=title)
    for feature, value in zip(quality.features, quality.between_components.tolist(), strict=True):
        table.add_row(feature, _written(value, "+.3f"))
    means = quality.mean()
    table.add_row("all features, mean", _written(means["between_components"], "+.3f"))
    table.add_row("over features, mean of all components", _written(means["between_features"], "+.3f"))
    return table


def _written(value: float | None, form: str = ".3f") -> str:
    """Write a number, or nothing where nothing was measured."""
    return "" if value is None or isnan(value) else format(value, form)
