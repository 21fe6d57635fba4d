"""Directions as they are asked for: `4`, `principal:4` or `singular:4`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from vitdecomp.errors import SpecError
from vitdecomp.models.prepare import PreparedModel
from vitdecomp.sources.source import Columns, Source
from vitdecomp.units.directions import Directions
from vitdecomp.units.principal import PrincipalDirections
from vitdecomp.units.split import SplitSource

Kind = Literal["principal", "singular"]


@dataclass(frozen=True, slots=True)
class AskedDirections:
    """How components are split.

    Attributes:
        kind: `"principal"`, from the contributions, or `"singular"`, from the model. k: directions of each component.
    """

    kind: Kind
    k: int

    @classmethod
    def parse(cls, text: str) -> AskedDirections | None:
        """Read `K`, `principal:K` or `singular:K`; 0 splits nothing.

        Raises:
            SpecError: it is none of these.
        """
        kind, _, count = text.rpartition(":")
        kinds: dict[str, Kind] = {"": "principal", "principal": "principal", "singular": "singular"}
        if kind not in kinds or not count.isdecimal():
            raise SpecError(f"directions {text!r}: give a number K, principal:K or singular:K")
        return cls(kinds[kind], int(count)) if int(count) else None

    def find(self, source: Source, model: Callable[[], PreparedModel]) -> Directions:
        """Find the directions of the components of a source.

        Args:
            source: contributions by head.
            model: loads the model, which only singular directions need.

        Raises:
            InputError: fewer than two images.
        """
        if self.kind == "principal":
            return PrincipalDirections(self.k).fit(source).directions_
        from vitdecomp.decompose import Decomposer  # the tracer takes longer to import than a search in a store
        from vitdecomp.units.singular import SingularDirections

        prepared = model()
        image = prepared.example(None, 1)[0]
        return SingularDirections(self.k).fit(Decomposer(prepared.loaded).fit(image), image).directions_

    def split(self, source: Columns, model: Callable[[], PreparedModel]) -> SplitSource:
        """Split the components of a source; arguments and errors as for `find`.

        Raises:
            InputError: components of another granularity, which the model's singular directions do not have.
        """
        return SplitSource(source, self.find(source, model))
