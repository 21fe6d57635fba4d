"""What is asked of an extraction, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitdecomp._utils.registry import did_you_mean
from vitdecomp.datasets import Pictures, open_pictures
from vitdecomp.engine.granularity import BY, By
from vitdecomp.errors import SpecError
from vitdecomp.store.store import Store

REPRESENTATION = "representation"
UNITS = ("principal", "singular")


@dataclass(frozen=True, slots=True)
class ExtractConfig:
    """What to extract from which images.

    Attributes:
        images: a data set of pictures, or where it is: see `vitdecomp.datasets`.
        by: the components: as for `Decomposer`, two of them joined by a comma, or `representation`, which is not
            split at all.
        output, through: as for `Decomposer`.
        chunk_size: images that are written together.
        limit: take no more images than this.
        precision: of what is written, a key of `vitdecomp.store.encoding.PRECISIONS`.
    """

    images: Path | Pictures
    by: str = "head"
    output: str = "embedding"
    through: tuple[str, ...] | None = None
    chunk_size: int = 256
    limit: int | None = None
    precision: str = "float16"

    def skipped(self, store: Store) -> tuple[str, ...]:
        """List the ids of images that a store of them lacks, since they could not be read."""
        known = set(store.ids)
        return tuple(one.id for one in open_pictures(self.images).pictures[: self.limit] if one.id not in known)


@dataclass(frozen=True, slots=True)
class ExtractResult:
    """A store, and what an extraction did to it.

    Attributes:
        store: all of it.
        added: images that were added.
        skipped: ids of images that could not be read.
    """

    store: Store
    added: int
    skipped: tuple[str, ...]


def parse_by(text: str) -> By:
    """Read `"head"`, or `("head", "token")` of `"head,token"`.

    Raises:
        SpecError: nothing of the kind.
    """
    known: dict[str, Any] = {key if isinstance(key, str) else ",".join(key): key for key in BY}
    if text.partition(":")[0] in UNITS:
        raise SpecError(f"contributions are kept by component: split them when they are read, with --directions {text}")
    if text not in known:
        raise SpecError(f"cannot split by {text!r}{did_you_mean(text, list(known))}")
    by: By = known[text]
    return by
