"""The program of a module in a file: linear paths as plain values and tables, with all weights of the model."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from vitdecomp.engine.subset import weight_names
from vitdecomp.errors import SpecError
from vitdecomp.trace.cache.graph import read
from vitdecomp.trace.cache.named import UnnamedError
from vitdecomp.trace.cache.plain import Plain, named_plain, revived
from vitdecomp.trace.cache.sample import Sample
from vitdecomp.trace.capture import Captured, ends
from vitdecomp.trace.paths import LinearPaths

OTHER_VERSION = (UnnamedError, LookupError, TypeError, AttributeError, StopIteration)
"""What `read_program` may raise for a file of another version of vitdecomp or torch."""


def plain_program(paths: LinearPaths) -> tuple[Plain, dict[str, Tensor]]:
    """Write linear paths as plain values and tables; weights stand in them by their names in the model.

    Raises:
        SpecError: they cannot stand in a file, as with rules of one's own.
    """
    captured = paths.captured
    names = {id(getattr(captured.module, at)): name for at, name in weight_names(captured).items()}
    try:
        return named_plain(paths, names)
    except UnnamedError as error:
        raise SpecError(f"this module cannot be saved ({error}): make it again where it is needed") from error


def read_program(
    kept: Plain, tables: Mapping[str, Tensor], weights: Mapping[str, Tensor], sample: Sample
) -> LinearPaths:
    """Restore linear paths with the weights of a file.

    Args:
        kept: the plain values.
        tables: the tables.
        weights: of the model, by their names there.
        sample: of the images.
    """
    unused = {name: torch.zeros(0) for name in kept.graph["tensors"].values() if name is not None}
    graph, nodes = read(kept.graph, tables, {**unused, **weights})
    trial = sample.images(kept.batch or 3)
    return revived(kept, tables, nodes, Captured(graph, *ends(graph.graph), trial, kept.front_end, kept.batch))


def below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
