"""Flags that commands of this package share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Option

from vitdecomp.cli.command import Alias
from vitdecomp.cli.options import By
from vitdecomp.errors import SpecError

if TYPE_CHECKING:
    from vitdecomp.component import Component
    from vitdecomp_alignment.clip.contributions import Reading

Count = int | Literal["auto"]
Maps = Annotated[Path | None, Option(help="What `align` wrote, a folder of such, or hf:REPO; not needed for a CLIP.")]
Clip = Annotated[str | None, Option(help="The CLIP whose texts are used; default: the one that the maps lead to.")]
StoreOf = Annotated[str | None, Option(help="What `extract` wrote, in place of images; or its URI.")]
Components = Annotated[tuple[str, ...], Option(help="Name or pattern; repeatable.")]
Pool = Annotated[str | None, Option(help="general, scene, features, or a file with one text a line.")]
Texts = Annotated[tuple[str, ...], Option(help="A text; repeatable.")]
Feature = Annotated[str | None, Option(help="A feature whose components count, such as location.")]
TextCount = Annotated[int, Option("--m", min=1, help="Texts for each component or token.")]
Settings = Annotated[tuple[str, ...], Option("--set", help="A setting of the method, NAME=VALUE; repeatable.")]
ImageRoot = Annotated[
    tuple[Path, ...], Option(help="Folder that a store's images may be taken from; repeatable."), Alias("--pictures")
]
Features = Annotated[
    tuple[str, ...],
    Option(help="Name, NAME=WORD,WORD, FILE.json, or photographs or scenes for a set; repeatable."),
]
CenterTexts = Annotated[
    str, Option(help="Subtract from texts the mean of: none, feature or pool."), Alias("--center", "--centre")
]
Measure = Annotated[str, Option(help="mean of correlations, pooled, or share of the variance.")]
Split = Annotated[
    str, Option(metavar="K", help="Split each component into K principal directions; singular:K for those of its map.")
]


@dataclass(frozen=True, slots=True)
class ContributionOptions:
    """Which contributions are read, and which texts they are compared with."""

    maps: Maps = None
    clip: Clip = None
    images: Annotated[Path | None, Option(help="Folder of images; default: the embedded world.")] = None
    store: StoreOf = None
    by: By = "head"
    directions: Split = "0"

    def reading(self, limit: int | None) -> Reading:
        """Give them to the library."""
        from vitdecomp.units import AskedDirections
        from vitdecomp_alignment.clip.contributions import Reading

        directions = AskedDirections.parse(self.directions)
        return Reading(self.images, self.maps, self.clip, self.by, limit, self.store, directions)


def count(text: str) -> Count:
    """Read a number of components, or `auto`.

    Raises:
        SpecError: neither.
    """
    if text == "auto":
        return "auto"
    if not text.isdecimal() or int(text) < 1:
        raise SpecError(f"--top must be a positive number or auto, not {text!r}")
    return int(text)


def check_top(top: Count | None, components: Sequence[Component]) -> None:
    """Refuse more components of a feature than there are.

    Raises:
        SpecError: there are fewer.
    """
    varying = sum(not component.is_constant for component in components)
    if isinstance(top, int) and top > varying:
        raise SpecError(
            f"--top {top}: there are {varying} components that vary; give --top 1 to {varying}, or --top auto"
        )
