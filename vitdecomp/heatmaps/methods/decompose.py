"""`decompose`: the direct contributions of the model's components, by token."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from vitdecomp.engine.pull import images_at_once
from vitdecomp.heatmaps.explainer import Explainer, register_explainer
from vitdecomp.heatmaps.grid import total
from vitdecomp.heatmaps.heatmaps import Audit, Heatmaps
from vitdecomp.heatmaps.subject import Subject
from vitdecomp.heatmaps.token_products import token_gates, token_products
from vitdecomp.trace.rule import Gate


@register_explainer
class Decompose(Explainer):
    """The exact sum that the score is, laid out by the token that each attention attends to.

    An attention contributes at the tokens whose values it reads, an MLP, a conv block and the embedding at their own.
    So in a class-token model the MLPs contribute at the class token, which has no place in the input.

    References:
        RepDecompose, arXiv 2406.01583; TextSpan, arXiv 2310.05916.
    """

    name: ClassVar[str] = "decompose"
    takes_components: ClassVar[bool] = True
    adds_up: ClassVar[bool] = True

    def gates(self, subject: Subject) -> Collection[Gate]:
        """Return those of the components' paths, by head and by token."""
        return token_gates(subject)

    def images_at_once(self, subject: Subject) -> int:
        """Return of how many images all directions are pulled in one sweep."""
        views = subject.decomposer.views
        return images_at_once(views.of("token")[0].graph, len(subject.asked), views.captured.trial)

    def explain(self, subject: Subject) -> Heatmaps:
        """Lay the products of all chosen components with the directions out by token."""
        found = token_products(subject)
        grid, placeless = subject.grid.place(found.by_token)
        placeless = placeless + found.other
        constants = subject.with_offset(found.constants) if subject.components is None else found.constants
        score = subject.with_offset(found.score) if subject.components is None else found.score
        residual = score - constants - placeless - total(grid)
        audit = Audit.of(score, constants, placeless, residual)
        return self.audited(subject, grid, audit, components=found.components)
