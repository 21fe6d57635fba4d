"""What `vitdecomp inspect` does: a model decomposed on a few images."""

from __future__ import annotations

from pathlib import Path

from vitdecomp.decompose import Decomposer
from vitdecomp.models.prepare import ModelOptions, fitted, prepare
from vitdecomp.report import Report
from vitdecomp.trace.graph_file import check_graph_file, write_graph


def inspect_model(
    options: ModelOptions,
    *,
    images: Path | None = None,
    limit: int = 4,
    output: str = "embedding",
    through: list[str] | None = None,
    graph: Path | None = None,
) -> tuple[Report, str]:
    """Decompose a model on a few images.

    Returns:
        The report, and which images it was made with.
    """
    if graph is not None:
        check_graph_file(graph)
    prepared = prepare(options)
    batch, source = prepared.example(images, limit)
    dec = fitted(Decomposer(prepared.loaded, output=output, through=through or "auto").fit, batch, prepared)
    if graph is not None:
        write_graph(dec.report_.graph, graph)
    return dec.report_, source
