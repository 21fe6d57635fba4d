"""What an edit does to each image: which tokens it changes, and the texts of the representation before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from vitdecomp._utils.modes import in_neutral_mode
from vitdecomp.decompose import Decomposer
from vitdecomp.latent.description import Vocabulary
from vitdecomp.latent.editing import Edited


@dataclass(frozen=True, slots=True)
class EditOutcome:
    """Say what an edit does to one image.

    Attributes:
        tokens: numbers of those that are changed.
        before, after: texts of the representation with their similarities, the most similar first.
    """

    tokens: tuple[int, ...]
    before: Sequence[tuple[str, float]]
    after: Sequence[tuple[str, float]]


@in_neutral_mode
def edit_outcomes(
    edited: Edited, decomposer: Decomposer, images: Float[Tensor, "n *image"], vocabulary: Vocabulary, k: int
) -> list[EditOutcome]:
    """Compare the representations of images with texts, before and after an edit.

    Args:
        edited: the edit.
        decomposer: of the model, fitted.
        images: n images.
        vocabulary: the texts.
        k: how many of them, the most similar ones.

    Raises:
        InputError: images unlike those that the model was traced with.
        SpecError: the edit has no meaning for the model.
    """
    tokens = [tuple(row.nonzero()[:, 0].tolist()) for row in edited.mask(images)]
    said = (_texts(vocabulary, z, k) for z in (decomposer.represent(images), edited(images)))
    return [EditOutcome(*each) for each in zip(tokens, *said, strict=True)]


def _texts(vocabulary: Vocabulary, z: Tensor, k: int) -> list[list[tuple[str, float]]]:
    cosines, numbers = vocabulary.compare(z[:, None, None], k)
    rows = zip(numbers[:, 0, 0].tolist(), cosines[:, 0, 0].tolist(), strict=True)
    return [[(vocabulary.texts[i], cosine) for i, cosine in zip(*row, strict=True)] for row in rows]
