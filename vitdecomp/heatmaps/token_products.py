"""Products of directions with the contributions of components, by token."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp.component import Component
from vitdecomp.engine.granularity import By
from vitdecomp.engine.products import products
from vitdecomp.engine.pull import pull_together
from vitdecomp.heatmaps.parts import Parts
from vitdecomp.heatmaps.subject import Subject
from vitdecomp.trace.rule import Gate

ROOM = 2**28  # bytes of vectors at a time


@dataclass(frozen=True)
class TokenProducts:
    """What the chosen components add to each score.

    Attributes:
        by_token: of all that has tokens, on the model's token axis.
        constants: of biases, embeddings of parameters and frozen statistics. other: of what has no tokens at all.
        score: the sum over the chosen components, from contributions that are not split by token.
        components: what each component adds at the tokens that have a place in the input.
    """

    by_token: Float[Tensor, "n direction token"]
    constants: Float[Tensor, "n direction"]
    other: Float[Tensor, "n direction"]
    score: Float[Tensor, "n direction"]
    components: Parts


def token_gates(subject: Subject) -> list[Gate]:
    """Return what is read of the run of the model; nothing where the maps differ between components."""
    if subject.asked.by_component:
        return []
    views = subject.decomposer.views
    bys: list[By] = subject.token_granularities if subject.whole else ["head", *subject.token_granularities]
    return [gate for by in bys for gate in views.of(by)[0].recorder.gates]


def token_products(subject: Subject) -> TokenProducts:
    """Compute the products of the chosen components with the directions of a subject."""
    return _of_all(subject) if subject.whole else _of_some(subject)


def _of_all(subject: Subject) -> TokenProducts:
    """Pull the directions back once, to all components by token."""
    paths, components = subject.decomposer.views.of("token")
    recorded, n = subject.recorded, len(subject.images)
    by_token, amounts, rest = list[Tensor](), list[Tensor](), list[Tensor]()
    for adjoints in pull_together(paths.graph, recorded, subject.by_direction):
        found, sums = components.attributed_sums(recorded, adjoints, n, subject.grid.placed)
        by_token.append(found)
        amounts.append(sums)
        rest.append(components.attributed_rest(recorded, adjoints, n))
    others = torch.cat(rest, 1)
    constants = others[..., [i for i, c in enumerate(components.rest) if c.is_constant]].sum(-1)
    placed = Parts.named([row.name for row in components.rows], torch.cat(amounts, 1))
    return TokenProducts(torch.cat(by_token, 1), constants, others.sum(-1) - constants, subject.score, placed)


def _of_some(subject: Subject) -> TokenProducts:
    """Tell heads apart: some components, or a direction for each."""
    decomposer = subject.decomposer
    whole, *split = _products(subject, ["head", *subject.token_granularities])
    parts = decomposer.components_of("head")
    chosen, placed = subject.chosen(parts), set[str]()
    by_token = whole.new_zeros((*whole.shape[:2], len(decomposer.tokens_)))
    names, amounts = list[str](), list[Tensor]()
    for by, found in zip(subject.token_granularities, split, strict=True):
        rows = decomposer.components_of(by)
        kept = [i for i in subject.chosen(rows) if _is_new(rows[i], placed)]
        placed |= {rows[i].name for i in kept}
        by_token += found[:, :, kept].sum(2)
        names += [rows[i].name for i in kept]
        amounts.append(subject.grid.within(found[:, :, kept]))
    constants = whole[:, :, [i for i in chosen if parts[i].is_constant]].sum(2)
    other = whole[:, :, [i for i in chosen if parts[i].kind == "other"]].sum(2)
    components = Parts.named(names, torch.cat(amounts, 2))
    return TokenProducts(by_token, constants, other, whole[:, :, chosen].sum(2), components)


def _is_new(row: Component, placed: set[str]) -> bool:
    """Whole attentions are left to their heads."""
    return row.name not in placed and not (row.kind == "attn" and row.head is None)


def _products(subject: Subject, bys: list[By]) -> list[Float[Tensor, "n direction *axes"]]:
    """Compute the products at some granularities, with directions of each component's own where maps give them."""
    if not subject.asked.by_component:
        views = (subject.decomposer.views.of(by) for by in bys)
        return [products(*view, subject.recorded, subject.by_direction) for view in views]
    return [_pushed(subject, by) for by in bys]


def _pushed(subject: Subject, by: By) -> Float[Tensor, "n direction *axes"]:
    decomposer, directions = subject.decomposer, subject.asked.by_component
    rows = {c.name: i for i, c in enumerate(decomposer.components_of(by))}
    tokens = len(decomposer.tokens_) if by != "head" else 1
    found, done = [], 0
    for images in _few(subject, by):
        c = decomposer.transform(images, by)
        products = _with_own(c.values, _stacked(c.components, directions, slice(done, done + len(images))))
        done += len(images)
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


def _stacked(
    components: tuple[Component, ...], directions: Mapping[str, Tensor], images: slice
) -> Float[Tensor, "m c direction d"]:
    """Return the directions of each component; zeros where heads are together, which the heads themselves have."""
    first = next(iter(directions.values()))
    zero, some = torch.zeros_like(first), images if len(first) > 1 else slice(None)
    return torch.stack([directions.get(_row(c), zero)[some] for c in components], 1)


def _with_own(values: Float[Tensor, "n c d"], q: Float[Tensor, "m c direction d"]) -> Float[Tensor, "n direction c"]:
    """Multiply contributions with directions of each component, of each image or the same for all."""
    if len(q) == len(values):
        return torch.einsum("ncd,ncqd->nqc", values, q.to(values))
    return torch.einsum("ncd,cqd->nqc", values, q[0].to(values))
