"""What is looked for: texts, images, vectors, and what should not be like it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from vitdecomp._utils.registry import did_you_mean
from vitdecomp._utils.summary import Brief
from vitdecomp.contributions import Contributions
from vitdecomp.errors import InputError, SpecError

Reference: TypeAlias = int | np.integer | Path | str | Image.Image | Contributions
KINDS = (int, np.integer, str, Path, Image.Image, Contributions)
COMBINE = ("mean", "best")


Decompose: TypeAlias = Callable[[Sequence[Image.Image]], Contributions]


@dataclass(frozen=True, slots=True, repr=False)
class Query(Brief):
    """One thing to look for; several references are told apart only by `combine`.

    Attributes:
        text: texts.
        image: images: rows of the source, files, PIL images, or contributions of the model to other images.
        vector: features of images in the space, `(d,)` or `(reference, d)`, such as the sum of the components' aligned
            contributions.
        negative: what hits should not be like.
        weight: of the negative.
        combine: `"mean"`: one direction, the mean of the references' unit vectors; `"best"`: an image is as good as
            its nearest reference.
    """

    text: str | Sequence[str] = ()
    image: Reference | Sequence[Reference] = ()
    vector: Float[Tensor, "... d"] | None = None
    negative: Query | str | None = None
    weight: float = 1.0
    combine: str = "mean"

    def __post_init__(self) -> None:
        """Refuse a query for nothing."""
        if self.combine not in COMBINE:
            raise SpecError(f"cannot combine references by {self.combine!r}{did_you_mean(self.combine, COMBINE)}")
        if not self.texts and not self.images and self.vector is None:
            raise SpecError("nothing to look for: give a text, an image or a vector")

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts, one or many."""
        return (self.text,) if isinstance(self.text, str) else tuple(self.text)

    @property
    def images(self) -> tuple[Reference, ...]:
        """The images, one or many."""
        several: tuple[Any, ...] = (self.image,) if isinstance(self.image, KINDS) else tuple(self.image)
        strange = [type(image).__name__ for image in several if not isinstance(image, KINDS)]
        if strange:
            raise InputError(f"a reference is a row, a file, a PIL image or contributions, not {strange[0]}")
        return several

    @property
    def against(self) -> Query | None:
        """The negative as a query."""
        return Query(text=self.negative) if isinstance(self.negative, str) else self.negative
