"""What every component does to the logits of a linear head, so that any set of them can be taken away at no cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp.ablation.ablator import Ablator
from vitdecomp.ablation.linear_head import LinearHead, batches
from vitdecomp.component import Component
from vitdecomp.metrics.inputs import Labels
from vitdecomp.sources.source import Source


@dataclass(frozen=True, slots=True)
class Effects:
    """Logits of images, and what is taken from them when a component is replaced.

    The sum is linear in the contributions and so is the head: logits without a set S are `logits` minus the sum of
    `removed` over S.

    Attributes:
        components: those that can be replaced.
        logits: of the whole representation. removed: by the replacement of each component.
    """

    components: tuple[Component, ...]
    logits: Float[Tensor, "n class"]
    removed: Float[Tensor, "n k class"]

    def without(self, components: Sequence[Component]) -> Float[Tensor, "n class"]:
        """Compute the logits when some components are replaced."""
        place = {component: i for i, component in enumerate(self.components)}
        return self.logits - self.removed[:, [place[c] for c in components]].sum(1)

    @classmethod
    def joined(cls, parts: Sequence[Effects]) -> Effects:
        """Those of several batches of images."""
        logits, removed = (torch.cat([getattr(part, key) for part in parts]) for key in ("logits", "removed"))
        return cls(parts[0].components, logits, removed)


def effects(source: Source, ablator: Ablator, head: LinearHead, labels: Labels | None = None) -> Iterator[Effects]:
    """Yield the effects of an ablator's components, a batch of images at a time."""
    for rows in batches(len(source)):
        c = source.take(rows)
        known = None if labels is None else labels[rows.start : rows.stop]
        removed = head.linear(ablator.removed(c, known, rows=rows))
        yield Effects(ablator.components_, head(c.total()), removed)
