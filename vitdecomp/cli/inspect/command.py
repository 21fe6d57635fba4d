"""`vitdecomp inspect`: decompose a model on a few images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option, echo

from vitdecomp._utils.console import status
from vitdecomp.cli.command import command
from vitdecomp.cli.options import ImageOptions, Model, PathOptions, ResultOptions, SingleModelOptions

if TYPE_CHECKING:
    from rich.console import Console


@contextmanager
def missing_rule_shown() -> Iterator[None]:
    """Show a rule to begin with where an operation has none."""
    from vitdecomp.errors import NoRuleError

    try:
        yield
    except NoRuleError as error:
        if error.stub:
            echo(f"# A rule to begin with, right if {error.op} is linear in its first operand:\n\n{error.stub}")
        raise


@command
def inspect(
    model: Model,
    *,
    images: Annotated[
        Path | None, Option(help="An image or a folder; default: two photographs, or random inputs.")
    ] = None,
    graph: Annotated[Path | None, Option(help="Write the linear paths to FILE.graphml or FILE.dot.")] = None,
    axes: Annotated[
        bool, Option("--axes", help="Show which axis of each source is what, and by which evidence.")
    ] = False,
    paths: PathOptions,
    loading: SingleModelOptions,
    reading: ImageOptions = ImageOptions(limit=4),
    result: ResultOptions,
) -> None:
    """Trace a model and show what its representation is made of."""
    from vitdecomp.cli.inspect.report import show_axes, show_report
    from vitdecomp.decompose import Decomposer
    from vitdecomp.models.prepare import fitted, prepare
    from vitdecomp.trace.graph_file import check_graph_file, write_graph

    if graph is not None:
        check_graph_file(graph)
    with status(f"tracing {model}", result.quiet), missing_rule_shown():
        prepared = prepare(loading.of(model), reads_images=images is not None)
        batch, source = prepared.example(images, reading.limit or 4, strict=reading.strict)
        decomposer = Decomposer(prepared.loaded, output=paths.output, through=paths.through or "auto")
        report = fitted(decomposer.fit, batch, prepared).report_
        if graph is not None:
            write_graph(report.graph, graph)

    def show(console: Console) -> None:
        show_report(console, report, source)
        if axes:
            show_axes(console, report)

    result.show({**report.to_json(), "images": source}, show)
