"""Directions as they are asked for: `4`, `principal:4` or `singular:4`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from jaxtyping import Float
from torch import Tensor

from vitdecomp.engine.granularity import BY, By, normalised
from vitdecomp.errors import SpecError
from vitdecomp.units.directions import Directions
from vitdecomp.units.principal import PrincipalDirections

if TYPE_CHECKING:
    from vitdecomp.units.singular import Traced

Kind = Literal["principal", "singular"]
KINDS: dict[str, Kind] = {"": "principal", "principal": "principal", "singular": "singular"}
USUAL = 4  # directions of each component


@dataclass(frozen=True, slots=True)
class AskedDirections:
    """How components are split.

    Attributes:
        kind: `"principal"`, from the contributions, or `"singular"`, from the model. k: directions of each component.
    """

    kind: Kind
    k: int = USUAL

    def __str__(self) -> str:
        return f"{self.kind}:{self.k}"

    @classmethod
    def parse(cls, text: str) -> AskedDirections | None:
        """Read `K`, `principal`, `principal:K`, `singular` or `singular:K`; 0 splits nothing.

        Raises:
            SpecError: it is none of these.
        """
        kind, _, count = (f"{text}:{USUAL}" if text in KINDS and text else text).rpartition(":")
        if kind not in KINDS or not count.isdecimal():
            raise SpecError(f"directions {text!r}: give a number K, principal:K or singular:K")
        return cls(KINDS[kind], int(count)) if int(count) else None

    def fit(self, decomposer: Traced, images: Float[Tensor, "n *image"]) -> Directions:
        """Find directions of a decomposer's components: from all images, or from the model at the gates of the first.

        Raises:
            InputError: fewer than two images, where the directions come from contributions.
        """
        if self.kind == "singular":
            from vitdecomp.units.singular import SingularDirections  # the tracer takes long to import

            return SingularDirections(self.k).fit(decomposer, images[:1]).directions_
        return PrincipalDirections(self.k).fit(decomposer.transform(images, "head")).directions_


Asked: TypeAlias = "By | AskedDirections | Directions"


def asked(by: object) -> Asked:
    """Read what a decomposer is to split by: a granularity, or directions of heads, MLPs and conv blocks.

    Raises:
        SpecError: there is no such granularity.
    """
    if isinstance(by, AskedDirections | Directions):
        return by
    if isinstance(by, str) and by not in BY and by.partition(":")[0] in {*KINDS.values()}:
        return AskedDirections.parse(by) or "head"
    return normalised(by)
