"""All that a store holds, looked at once: `vitdecomp verify`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from vitdecomp._utils.progress import Progress
from vitdecomp.errors import DamageError
from vitdecomp.store.data_files import REMEDY
from vitdecomp.store.encoding import PRECISIONS
from vitdecomp.store.store import Store

NUMBERS = 2**24  # that are looked at together
ROUNDING = 1e-6  # of float32: of what is read, and of the representation that it is compared with


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found to be whole.

    Attributes:
        unfinished: images are being added, or were when a process was killed; what is told is of those before.
        files: whose checksums were compared.
        unknown: files of which no checksum is recorded.
        error: largest relative error of the sums as they were computed.
        loss: largest |read - contribution| / |contribution|.
        total_loss: largest |sum read - representation| / |representation|; what writing and reading adds to `error`.
    """

    images: int
    components: int
    dimension: int
    precision: str
    unfinished: bool
    files: int
    unknown: int
    error: float
    loss: float
    total_loss: float


def verify(
    place: Path | str, options: Mapping[str, str] | None = None, *, progress: Progress | None = None
) -> Verified:
    """Compare every checksum of a store, read everything in it, and add it up.

    The sums find damage in stores without checksums too, unless it is smaller than what writing has lost.

    Args:
        place: of the store.
        options: of the object store.
        progress: called with the images done and their number.

    Raises:
        InputError: there is no store.
        DamageError: it is damaged; names what.
    """
    store = Store(place, options, verify=True)
    files, unknown = store.check()
    if len(set(store.ids)) != len(store):
        raise DamageError(f"{store.uri} is damaged: it has two images of one name; {REMEDY}")
    _ = store.paths, store.labels, store.groups, [store.vectors(name) for name in store.vectors_of]
    size = max(NUMBERS // (len(store.components) * store.dimension), 1)
    worst = torch.zeros(3, dtype=torch.float64)
    for start in range(0, len(store), size):
        rows = range(start, min(start + size, len(store)))
        worst = torch.maximum(worst, _worst(store, rows))
        if progress is not None:
            progress(rows.stop, len(store))
    error, loss, total_loss = worst.tolist()
    return Verified(
        images=len(store),
        components=len(store.components),
        dimension=store.dimension,
        precision=store.metadata.precision,
        unfinished=store.unfinished,
        files=files,
        unknown=unknown,
        error=error,
        loss=loss,
        total_loss=total_loss,
    )


def _worst(store: Store, rows: range) -> torch.Tensor:
    """Return the largest error, loss of a component and loss of the sum of some images, all within bounds."""
    found, each = store.take(rows), store.loss(rows).double()
    whole, parts = store.embedding(rows).double(), torch.linalg.vector_norm(found.values.double(), dim=2)
    away = torch.linalg.vector_norm(found.values.sum(1, dtype=torch.float64) - whole, dim=1)
    allowed = ((each + ROUNDING) * parts).sum(1) + ROUNDING * torch.linalg.vector_norm(whole, dim=1)
    kept = each.amax(1) <= PRECISIONS[store.metadata.precision].promise
    bad = ~((away <= allowed) & kept & found.error.isfinite())  # so that NaN is bad too
    if bad.any():
        first = rows[int(bad.nonzero()[0])]
        raise DamageError(
            f"{store.uri} is damaged: the contributions of image {store.ids[first]} (row {first}) do not add up to its "
            f"representation; {REMEDY}"
        )
    loss = away.new_zeros(len(rows)) if found.loss is None else found.loss
    return torch.stack([found.error.double().amax(), each.amax(), loss.amax()])
