"""`gradient-input`: the full gradient of the score with respect to the image, times the image."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from vitdecomp.attention.differentiable import run
from vitdecomp.heatmaps.explainer import Explainer, register_explainer
from vitdecomp.heatmaps.grid import summed
from vitdecomp.heatmaps.heatmaps import Heatmaps
from vitdecomp.heatmaps.subject import Subject

BATCH = 32  # images of which one graph is held


@register_explainer
class GradientInput(Explainer):
    """The gradient times the image as the model takes it, summed over channels and over the pixels of each patch.

    References:
        Shrikumar et al., arXiv 1605.01713.
    """

    name: ClassVar[str] = "gradient-input"

    def explain(self, subject: Subject) -> Heatmaps:
        """Differentiate the score of each direction."""
        maps, outputs = list[Tensor](), list[Tensor]()
        for images, q in subject.batches(BATCH):
            x = images.detach().requires_grad_()
            with torch.enable_grad():
                output = run(subject.decomposer.views.captured, x)
                scores = [(output * each).sum() for each in q.unbind(1)]
            gradients = [torch.autograd.grad(score, x, retain_graph=True)[0] for score in scores]
            outputs.append(output.detach())
            maps.append(torch.stack([subject.by_place(images * gradient) for gradient in gradients], 1))
        subject = subject.with_representation(torch.cat(outputs))
        return self.unaudited(subject, summed(torch.cat(maps), subject.grid.size))
