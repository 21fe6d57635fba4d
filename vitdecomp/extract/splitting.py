"""What takes images apart, for a job."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vitdecomp.component import WHOLE
from vitdecomp.contributions import Contributions
from vitdecomp.errors import InputError
from vitdecomp.extract.config import REPRESENTATION, ExtractConfig, parse_by
from vitdecomp.images.decoding import DECODING
from vitdecomp.models.prepare import PreparedModel, fitted
from vitdecomp.models.preprocessing import describe
from vitdecomp.provenance import Origin
from vitdecomp.store.metadata import Metadata

Split = Callable[[Tensor], Contributions]


def splitting(prepared: PreparedModel, job: ExtractConfig, pixels: Tensor) -> tuple[Split, Contributions]:
    """Make what decomposes images, and what it gives for one of them."""
    by, batch = parse_by(job.by), pixels[None].to(prepared.device, prepared.dtype)
    if by == REPRESENTATION:  # nothing need be traced
        whole = _Whole(prepared, job.output)
        return whole, whole(batch)
    from vitdecomp.decompose import Decomposer

    dec = Decomposer(prepared.loaded, by=by, output=job.output, through=job.through or "auto")
    fitted(dec.fit, batch, prepared)
    return dec.transform, dec.transform(batch)


def metadata_of(prepared: PreparedModel, job: ExtractConfig, first: Contributions) -> Metadata:
    """Make the metadata to be written, as far as one image tells."""
    origin = (
        Origin.of(prepared.loaded.module, prepared.loaded.spec, job.output) if first.origin is None else first.origin
    )
    return Metadata(
        model=origin.model,
        weights=origin.weights,
        preprocessing=describe(prepared.preprocess),
        output=job.output,
        by=job.by,
        through=job.through,
        dtype=str(first.values.dtype).removeprefix("torch."),
        precision=job.precision,
        dimension=first.dimension,
        components=first.components,
        decoding=DECODING,
    )


class _Whole:
    """Images to representations, as one component."""

    def __init__(self, prepared: PreparedModel, output: str) -> None:
        self.origin = Origin.of(prepared.loaded.module, prepared.loaded.spec, output)
        self.module = prepared.loaded.representation(output)

    def __call__(self, images: Tensor) -> Contributions:
        with torch.no_grad():
            vectors = self.module(images)
        if vectors.ndim != 2 or not bool(vectors.isfinite().all()):
            raise InputError(f"{self.origin.model} must return a finite vector per image, not {tuple(vectors.shape)}")
        error = torch.zeros(len(vectors), dtype=torch.float64)
        return Contributions(vectors[:, None], (WHOLE,), error, origin=self.origin)
