"""`gradient-input`: the full gradient of the score with respect to the image, times the image."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, fx

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
        model, maps = subject.decomposer.captured.module, []
        for images, q in zip(*(torch.split(x, BATCH) for x in (subject.images, subject.directions)), strict=True):
            x = images.detach().requires_grad_()
            with torch.enable_grad():
                found = _Reshaping(model).run(x)
                output = found[0] if isinstance(found, (tuple, list)) else found
                scores = [(output * each).sum() for each in q.unbind(1)]
            gradients = [torch.autograd.grad(score, x, retain_graph=True)[0] for score in scores]
            maps.append(torch.stack([(images * gradient).sum(1) for gradient in gradients], 1))
        return self.unaudited(subject, summed(torch.cat(maps), subject.grid.size))


class _Reshaping(fx.Interpreter):
    """A run of the graph that copies where a view is none of what lies otherwise in memory with gradients."""

    def fetch_attr(self, target: str) -> Any:
        """Parameters are constants here."""
        value = super().fetch_attr(target)
        return value.detach() if isinstance(value, Tensor) else value

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Reshape in place of a view."""
        return super().call_function(torch.reshape if target is torch.ops.aten.view.default else target, args, kwargs)
