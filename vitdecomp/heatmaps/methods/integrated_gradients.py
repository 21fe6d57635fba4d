"""`integrated-gradients`: gradients added up on the way from a blank image, by the package captum."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp.attention.differentiable import run
from vitdecomp.errors import SpecError
from vitdecomp.heatmaps.explainer import Explainer, register_explainer
from vitdecomp.heatmaps.grid import summed, total
from vitdecomp.heatmaps.heatmaps import Audit, Heatmaps
from vitdecomp.heatmaps.peer import peer
from vitdecomp.heatmaps.subject import Subject

BATCH = 32  # images of which one graph is held


@register_explainer
class IntegratedGradients(Explainer):
    """(image - baseline) times the mean gradient on the straight line between them, summed over patches.

    The map and the score of the baseline, which counts as a constant, add up to the score but for the error of the
    integral; the audit's residual is that error.

    Args:
        steps: of the integral, by Gauss-Legendre.
        baseline: the value of all its pixels, as the model takes them; 0 is the mean color of most preprocessings.
        pixels: keep the map at the resolution of the image, in place of sums over patches.

    Raises:
        SpecError: no steps. LoadError: captum is not installed.

    References:
        Sundararajan et al., arXiv 1703.01365.
    """

    name: ClassVar[str] = "integrated-gradients"

    def __init__(self, steps: int = 32, baseline: float = 0.0, pixels: bool = False) -> None:
        if steps < 1:
            raise SpecError(f"integrated-gradients: steps must be a positive number, not {steps}")
        self.steps, self.baseline, self.pixels = steps, baseline, pixels
        self.kind = peer("captum.attr", self.name).IntegratedGradients

    def explain(self, subject: Subject) -> Heatmaps:
        """Integrate the score of each direction."""
        captured, parts = subject.decomposer.views.captured, []
        method = self.kind(lambda x, direction: (run(captured, x) * direction).sum(1))
        for images, q in subject.batches(BATCH):
            found = [subject.by_place(self._gradients(method, images, direction)) for direction in q.unbind(1)]
            parts.append(torch.stack(found, 1))
        pixels = torch.cat(parts)
        grid = pixels if self.pixels else summed(pixels, subject.grid.size)
        blank = run(captured, torch.full_like(subject.images[:1], self.baseline))
        constants = subject.with_offset(subject.directions @ blank[0])
        residual = subject.score - constants - total(grid)
        audit = Audit.of(subject.score, constants, torch.zeros_like(residual), residual)
        return Heatmaps(grid, subject.size, audit, self.name, subject.labels, self.signed)

    def _gradients(self, method: Any, images: Tensor, direction: Float[Tensor, "n d"]) -> Float[Tensor, "n *image"]:
        found: Tensor = method.attribute(
            images,
            self.baseline,
            additional_forward_args=direction,
            n_steps=self.steps,
            internal_batch_size=BATCH,
        )
        return found.detach().to(images)
