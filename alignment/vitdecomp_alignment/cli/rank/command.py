"""`vitdecomp rank`: order components by what they carry of a feature."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Option

from vitdecomp.cli.command import Alias, command
from vitdecomp.cli.options import CachedOptions, Figure, Model, ResultOptions, SingleModelOptions
from vitdecomp_alignment.cli.options import CenterTexts, ContributionOptions, Features, Measure, count


@dataclass(frozen=True, slots=True)
class RankOptions:
    """How components are ranked."""

    features: Features = ()
    top: Annotated[str, Option(help="Components of each feature: a number, or auto."), Alias("--k")] = "8"
    choose: Annotated[str, Option(help="margin over other features, or agreement of their sum.")] = "margin"
    center_texts: CenterTexts = "none"
    measure: Measure = "mean"
    figure: Figure = None
    out: Annotated[Path | None, Option(help="Write all scores as a table: .parquet, .arrow, .feather or .csv.")] = None
    quality: Annotated[bool, Option("--quality", help="Compare scores with rankings of images.")] = False


@command
def rank(
    model: Model,
    *,
    ranking: RankOptions,
    source: ContributionOptions,
    loading: SingleModelOptions,
    reading: CachedOptions = CachedOptions(limit=1000),
    result: ResultOptions,
) -> None:
    """Order the components of a model by how much they carry of features, such as color or location."""
    from vitdecomp.score import FeatureScorer, check_figure_file, heat_map, write_figure
    from vitdecomp.tables.files import table_format, write_tables
    from vitdecomp_alignment.cli.rank import rankings
    from vitdecomp_alignment.cli.rank.show import show_ranking

    if ranking.figure is not None:
        check_figure_file(ranking.figure)
    if ranking.out is not None:
        table_format(ranking.out)
    scorer = FeatureScorer(center=ranking.center_texts, measure=ranking.measure, random_state=loading.seed)
    config = rankings.RankConfig(
        source.reading(reading.limit),
        scorer,
        ranking.features,
        count(ranking.top),
        ranking.choose,
        ranking.quality,
    )
    ranked = rankings.rank(loading.of(model), config, reading.folder, loading=reading.loading, stage=result.stage)
    if ranking.figure is not None:
        write_figure(heat_map(ranked.scorer, ranked.chosen), ranking.figure)
    if ranking.out is not None:
        write_tables(ranking.out, [ranked.scorer.to_dataframe("pyarrow", features=[*ranked.chosen])])
    result.show(ranked.to_json(), lambda console: show_ranking(console, ranked))
