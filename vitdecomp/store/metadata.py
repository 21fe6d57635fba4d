"""What a store holds, settled before its first row is written."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields

from vitdecomp._utils.registry import did_you_mean
from vitdecomp._utils.schema import Dimension, from_json
from vitdecomp.component import Component
from vitdecomp.errors import InputError, OutputError, SpecError
from vitdecomp.provenance import Origin
from vitdecomp.store.data_files import REMEDY
from vitdecomp.store.encoding import PRECISIONS

SCHEMA = 3
DTYPES = ("float16", "bfloat16", "float32", "float64")


@dataclass(frozen=True, slots=True)
class Metadata:
    """Which contributions of which model.

    Attributes:
        model: the spec.
        weights: checksum of the parameters and buffers.
        preprocessing: a description of it.
        output, by, through, dtype: as for `Decomposer`.
        precision: of what is read back, a key of `PRECISIONS`.
        dimension: length of the representation.
        components: the component axis.
        schema: version of this format.
        decoding: how files became pixels, a `vitdecomp.images.decoding.DECODING`; empty before that was noted.
    """

    model: str
    weights: str
    preprocessing: str
    output: str
    by: str
    through: tuple[str, ...] | None
    dtype: str
    precision: str
    dimension: Dimension
    components: tuple[Component, ...]
    schema: int = SCHEMA
    decoding: str = ""

    @property
    def origin(self) -> Origin:
        """Where the representations come from."""
        return Origin(self.model, self.weights, self.output)

    def to_json(self) -> str:
        """Return all of it as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes, place: str | None = None) -> Metadata:
        """Read what `to_json` wrote; `place` says where it stands.

        Raises:
            InputError: it is something else, or of another schema.
        """
        place = place or f"the metadata {text[:80]!r}"
        found = from_json(text, cls, place=place, remedy=REMEDY, versions=(SCHEMA,))
        for fits, told in (
            (found.dtype in DTYPES, f"dtype is not one of {', '.join(DTYPES)}"),
            (found.precision in PRECISIONS, f"precision is not one of {', '.join(PRECISIONS)}"),
            (found.components and len(set(found.components)) == len(found.components), "components are not distinct"),
        ):
            if not fits:
                raise InputError(f"{place} does not fit its format: {told}; {REMEDY}")
        return found

    def check(self, earlier: Metadata, place: str) -> None:
        """Raise `OutputError`, which says in what they differ, unless rows of both may stand in one store."""
        different = [f.name for f in fields(self) if _differ(self, earlier, f.name)]
        if different == ["decoding"]:
            before = earlier.decoding or "noted nowhere, by a version that clipped 16 bits and ignored EXIF rotation"
            raise OutputError(f"the images in {place} were decoded by other rules ({before}): use another store")
        if different:
            raise OutputError(f"{place} holds another extraction ({', '.join(different)} differ): use another store")


def check_precision(name: str) -> None:
    """Raise `SpecError` unless there is such a precision."""
    if name not in PRECISIONS:
        raise SpecError(f"no precision {name!r}{did_you_mean(name, list(PRECISIONS))}")


def _differ(a: Metadata, b: Metadata, field: str) -> bool:
    return bool(getattr(a, field) != getattr(b, field))
