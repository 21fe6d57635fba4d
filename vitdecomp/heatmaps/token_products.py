"""Products of directions with the contributions of components, by token."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp.component import Component
from vitdecomp.engine.granularity import By
from vitdecomp.heatmaps.subject import Subject

ROOM = 2**28  # bytes of vectors at a time


@dataclass(frozen=True)
class TokenProducts:
    """What the chosen components add to each score.

    Attributes:
        by_token: of all that has tokens, on the model's token axis.
        constants: of biases, embeddings of parameters and frozen statistics. other: of what has no tokens at all.
        score: the sum over the chosen components, from contributions that are not split by token.
    """

    by_token: Float[Tensor, "n direction token"]
    constants: Float[Tensor, "n direction"]
    other: Float[Tensor, "n direction"]
    score: Float[Tensor, "n direction"]


def token_products(subject: Subject) -> TokenProducts:
    """Compute the products of the chosen components with the directions of a subject."""
    decomposer = subject.decomposer
    whole, *split = _products(subject, ["head", *subject.token_granularities])
    parts = decomposer.components_of("head")
    chosen, placed = subject.chosen(parts), set[str]()
    by_token = whole.new_zeros((*whole.shape[:2], len(decomposer.tokens_)))
    for by, products in zip(subject.token_granularities, split, strict=True):
        rows = decomposer.components_of(by)
        kept = [i for i in subject.chosen(rows) if _is_new(rows[i], placed, subject)]
        placed |= {rows[i].name for i in kept}
        by_token += products[:, :, kept].sum(2)
    constants = whole[:, :, [i for i in chosen if parts[i].is_constant]].sum(2)
    other = whole[:, :, [i for i in chosen if parts[i].kind == "other"]].sum(2)
    score = (
        subject.score if not subject.asked.by_component and subject.components is None else whole[:, :, chosen].sum(2)
    )
    return TokenProducts(by_token, constants, other, score)


def _is_new(row: Component, placed: set[str], subject: Subject) -> bool:
    """Whole attentions are left to the heads where these are told apart."""
    heads_apart = len(subject.token_granularities) > 1
    return row.name not in placed and not (heads_apart and row.kind == "attn" and row.head is None)


def _products(subject: Subject, bys: list[By]) -> list[Float[Tensor, "n direction *axes"]]:
    """Compute `Decomposer.attribute_each`, with directions of each component's own where maps give them."""
    if not subject.asked.by_component:
        return subject.decomposer.attribute_each(subject.images, subject.directions, bys)
    return [_pushed(subject, by) for by in bys]


def _pushed(subject: Subject, by: By) -> Float[Tensor, "n direction *axes"]:
    decomposer, directions = subject.decomposer, subject.asked.by_component
    rows = {c.name: i for i, c in enumerate(decomposer.components_of(by))}
    tokens = len(decomposer.tokens_) if by != "head" else 1
    found = []
    for images in _few(subject, by):
        c = decomposer.transform(images, by)
        q = _stacked(c.components, directions).to(c.values)
        products = torch.einsum("ncd,cqd->nqc", c.values, q)
        places = torch.tensor(
            [rows[_row(k)] * tokens + (k.token or 0) if _row(k) in rows else -1 for k in c.components]
        )
        table = products.new_zeros((*products.shape[:2], len(rows) * tokens))
        known = (places >= 0).nonzero()[:, 0].to(products.device)
        table.index_add_(2, places.to(products.device)[known], products[:, :, known])
        found.append(table if by == "head" else torch.unflatten(table, 2, (len(rows), tokens)))
    return torch.cat(found)


def _few(subject: Subject, by: By) -> Iterator[Tensor]:
    """Split the batch so that the vectors of a part find room."""
    decomposer, images = subject.decomposer, subject.images
    components = len(decomposer.components_of(by)) * (1 if by == "head" else len(decomposer.tokens_))
    one = components * decomposer.report_.dimension * images.element_size()
    yield from torch.split(images, max(1, ROOM // one))


def _row(component: Component) -> str:
    """Return the name of a component without its token."""
    return component.name if component.token is None else component.name.rsplit(".token.", 1)[0]


def _stacked(components: tuple[Component, ...], directions: Mapping[str, Tensor]) -> Float[Tensor, "c direction d"]:
    """Return the directions of each component; zeros where heads are together, which the heads themselves have."""
    zero = torch.zeros_like(next(iter(directions.values())))
    return torch.stack([directions.get(_row(c), zero) for c in components])
