"""What `vitdecomp inspect` does: a model decomposed on a few images."""

from __future__ import annotations

from pathlib import Path

from vitdecomp.decompose import Decomposer
from vitdecomp.models.prepare import Request, fitted, prepare
from vitdecomp.report import Report
from vitdecomp.trace.graph_file import check_graph_file, write_graph


def inspect_model(
    request: Request,
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
    ready = prepare(request)
    batch, source = ready.example(images, limit)
    dec = fitted(Decomposer(ready.loaded, output=output, through=through or "auto").fit, batch, ready)
    if graph is not None:
        write_graph(dec.report_.graph, graph)
    return dec.report_, source
