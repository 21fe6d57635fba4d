"""Latent tokens in words as one page that needs nothing else, written as they are read, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from vitdecomp._utils.console import printable
from vitdecomp._utils.files import check_file
from vitdecomp._utils.html import stream_page, template
from vitdecomp.component import Token
from vitdecomp.errors import SpecError
from vitdecomp.images.shown import picture, shown
from vitdecomp.latent.description import Descriptions
from vitdecomp.latent.outcome import EditOutcome


@dataclass(frozen=True, slots=True)
class LatentBatch:
    """Some images with the texts of their tokens.

    Attributes:
        names: of the images. images: as the model takes them, or PIL images. descriptions: of these.
        outcomes: what an edit does to each; none without an edit.
    """

    names: Sequence[str]
    images: Sequence[Any]
    descriptions: Descriptions
    outcomes: Sequence[EditOutcome] = ()


@dataclass(frozen=True, slots=True)
class Cell:
    """One token of one image, in the layer that is shown first.

    Attributes:
        place: along the axis of tokens that are described. number: of the token in the model. token: what it is.
        label: the same in words.
        words: its texts with their similarities.
        share: the best similarity, from 0 to 1 within the image.
        edited: whether an edit changes it.
    """

    place: int
    number: int
    token: Token
    label: str
    words: Sequence[tuple[str, float]]
    share: float
    edited: bool


@dataclass(frozen=True, slots=True)
class Section:
    """One image of a page.

    Attributes:
        name: of the image. picture: as the model sees it. cells: of all tokens.
        low, high: similarities of the worst and the best of all tokens' best texts, over all layers.
        data: what the script reads: texts, and numbers and similarities by layer, token and rank in one list each.
        outcome: of an edit, if there is one.
    """

    name: str
    picture: Image.Image
    cells: Sequence[Cell]
    low: float
    high: float
    data: dict[str, Any]
    outcome: EditOutcome | None

    @property
    def grids(self) -> list[tuple[tuple[int, ...], list[Cell]]]:
        """The grids of patches, each with its tokens."""
        sizes = dict.fromkeys(cell.token.grid for cell in self.cells if cell.token.grid is not None)
        return [(size, [cell for cell in self.cells if cell.token.grid == size]) for size in sizes]

    @property
    def others(self) -> list[Cell]:
        """Tokens that are no patches."""
        return [cell for cell in self.cells if cell.token.grid is None]


@dataclass(frozen=True, slots=True)
class LatentPage:
    """What a page shows.

    Attributes:
        title: of the page. blocks: paths of the model's blocks. tokens: what each token is, in the model's order.
        batches: images, which are asked for once, one by one. notes: what else is to be said.
    """

    title: str
    blocks: Sequence[str]
    tokens: Sequence[Token]
    batches: Iterable[LatentBatch]
    notes: Sequence[str] = ()

    def layer(self, number: int) -> str:
        """Say in words what a layer is."""
        what = (
            f"from {self.blocks[number]} on, every token attends to itself alone"
            if number < len(self.blocks)
            else "the model’s own tokens"
        )
        return f"{number} of {len(self.blocks)}: {what}"

    def sections(self) -> Iterator[Section]:
        """Give each image."""
        labels = token_labels(self.tokens)
        for batch in self.batches:
            for row, name in enumerate(batch.names):
                yield self._section(name, batch, row, labels)

    def _section(self, name: str, batch: LatentBatch, row: int, labels: Sequence[str]) -> Section:
        image, found, outcome = batch.images[row], batch.descriptions, next(iter(batch.outcomes[row : row + 1]), None)
        edited = () if outcome is None else outcome.tokens
        size = (image.height, image.width) if isinstance(image, Image.Image) else tuple(image.shape[-2:])
        best = found.similarities[row, :, :, 0].double()
        low, high = float(best.min()), float(best.max())
        shares = ((best[-1] - low) / ((high - low) or 1)).tolist()
        cells = [
            Cell(
                place=place,
                number=number,
                token=self.tokens[number],
                label=f"{labels[number]}, edited" if number in edited else labels[number],
                words=found.words(row, found.layers[-1], number),
                share=share,
                edited=number in edited,
            )
            for place, (number, share) in enumerate(zip(found.tokens, shares, strict=True))
        ]
        return Section(name, picture(shown(image, size)), cells, low, high, self._data(found, row), outcome)

    def _data(self, found: Descriptions, row: int) -> dict[str, Any]:
        """Return texts and similarities of all layers, with no text that this image does not need."""
        numbers = found.indices[row].flatten().tolist()
        used = {number: place for place, number in enumerate(dict.fromkeys(numbers))}
        return {
            "layers": [printable(self.layer(number)) for number in found.layers],
            "texts": [printable(found.texts[number]) for number in used],
            "numbers": [used[number] for number in numbers],
            "similarities": [round(s, 3) for s in found.similarities[row].flatten().tolist()],
        }


def token_labels(tokens: Sequence[Token]) -> list[str]:
    """Say in words what each token is; several of a kind without a place are numbered."""
    kinds = [token.kind for token in tokens]
    grids = len({token.grid for token in tokens if token.grid is not None})
    labels = []
    for i, token in enumerate(tokens):
        if token.kind == "patch":
            of = f" of {' × '.join(map(str, token.grid))}" if grids > 1 and token.grid is not None else ""
            labels.append(f"row {token.row}, column {token.column}{of}")
        else:
            which = f" {kinds[:i].count(token.kind)}" if kinds.count(token.kind) > 1 else ""
            labels.append(f"{token.kind} token{which}")
    return labels


def check_page_place(place: Path) -> None:
    """Raise an error if no page can be written there, before any work is done.

    Raises:
        SpecError: a file of another kind. OutputError: it cannot be written.
    """
    if place.suffix.lower() != ".html":
        raise SpecError(f"latent tokens are written as FILE.html, not as {place.name}")
    check_file(place)


def write_latent_page(page: LatentPage, place: Path) -> Path:
    """Write `FILE.html`; no more than one batch of images is held.

    Raises:
        SpecError: a file of another kind. OutputError: it cannot be written.
    """
    check_page_place(place)
    return stream_page(
        template("vitdecomp.latent", "page.html.jinja"), {"page": page, "sections": page.sections()}, place
    )
