"""`occlusion`: how much the score falls when a part of the image is covered, by the package captum."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp.attention.differentiable import run
from vitdecomp.errors import SpecError
from vitdecomp.heatmaps.explainer import Explainer, register_explainer
from vitdecomp.heatmaps.grid import summed
from vitdecomp.heatmaps.heatmaps import Heatmaps
from vitdecomp.heatmaps.peer import peer
from vitdecomp.heatmaps.subject import Subject

BATCH = 32  # covered images of one run
STEPS = 14  # of the window along the shorter side, by default
STEPS_EACH = 7  # along each axis of other inputs than images


@register_explainer
class Occlusion(Explainer):
    """The score minus that with a square (of a volume a cube) covered, averaged over those that cover a patch.

    All directions share the runs of the model, one for each place of the square, which is cut where an axis is shorter.

    Args:
        window: side of the square in pixels; by default two steps.
        step: pixels by which it moves; by default a fourteenth of the image's shorter side, or a
            seventh of each axis where there are more or less than two.
        baseline: the value of covered pixels, as the model takes them; 0 is the mean color of most preprocessings.

    Raises:
        SpecError: a window or step that is not positive, or steps that leave pixels out.
        LoadError: captum is not installed.

    References:
        Zeiler and Fergus, arXiv 1311.2901.
    """

    name: ClassVar[str] = "occlusion"

    def __init__(self, window: int | None = None, step: int | None = None, baseline: float = 0.0) -> None:
        given = [size for size in (step, window) if size is not None]
        if given != sorted(given) or min(given, default=1) < 1:
            raise SpecError(
                f"occlusion: step and window must be positive, and step at most the window, not {step} and {window}"
            )
        self.window, self.step, self.baseline = window, step, baseline
        self.kind = peer("captum.attr", self.name).Occlusion

    def explain(self, subject: Subject) -> Heatmaps:
        """Cover one square after another."""
        maps = [self._maps(subject, images, q) for images, q in subject.batches(BATCH)]
        area = summed(subject.images.new_ones(subject.size), subject.grid.size)
        return self.unaudited(subject, summed(torch.cat(maps), subject.grid.size) / area)

    def _maps(self, subject: Subject, images: Tensor, q: Tensor) -> Float[Tensor, "n direction *size"]:
        captured, (covered, steps) = subject.decomposer.views.captured, self._windows(subject)

        def scores(x: Tensor) -> Tensor:
            """Of several copies of the batch, each with another square covered."""
            copies = torch.unflatten(run(captured, x), 0, (-1, len(images)))
            return torch.einsum("mnd,nqd->mnq", copies, q).flatten()

        found: Tensor = self.kind(scores).attribute(
            images,
            covered,
            steps,
            self.baseline,
            perturbations_per_eval=max(1, BATCH // len(images)),
        )
        rest = [axis for axis in range(1, found.ndim) if axis not in subject.axes]
        for axis in reversed(rest):  # along which all is covered together
            found = found.select(axis, 0)
        return torch.unflatten(found, 0, q.shape[:2]).to(images)

    def _windows(self, subject: Subject) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return how much is covered along each axis of an input, and by how much that moves."""
        covered = [*subject.images.shape[1:]]
        steps, size = [*covered], subject.size
        for axis, length in zip(subject.axes, size, strict=True):
            step = self.step or (-(-min(size) // STEPS) if len(size) == 2 else -(-length // STEPS_EACH))
            window = min(self.window or 2 * step, length)
            covered[axis - 1], steps[axis - 1] = window, min(step, window)
        return tuple(covered), tuple(steps)
