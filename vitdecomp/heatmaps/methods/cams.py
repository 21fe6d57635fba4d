"""GradCAM and its kin: class activation maps, by the package grad-cam."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitdecomp.errors import SpecError
from vitdecomp.heatmaps.explainer import Explainer, register_explainer
from vitdecomp.heatmaps.grid import resized
from vitdecomp.heatmaps.heatmaps import Heatmaps
from vitdecomp.heatmaps.peer import peer
from vitdecomp.heatmaps.subject import Subject
from vitdecomp.heatmaps.target_layer import TargetLayer

BATCH = 32  # images of which one graph is held


class Cam(Explainer):
    """A map of one layer's activations x and the gradient g of the score with respect to them, clipped at zero.

    The package gets both on the grid of patches, and its formula makes the map, in double precision where the package
    keeps it. Its own scaling to 0 .. 1 and to the image's size is left out, so that maps can be compared.

    Args:
        layer: path of the module whose output is looked at; by default what the last attention reads, such as the
            norm in front of the last block's attention; without attention the last value on a grid.
    """

    signed: ClassVar[bool] = False
    kind: ClassVar[str]  # its name in the package
    reads_direction: ClassVar[bool] = True

    def __init__(self, layer: str | None = None) -> None:
        self.layer = layer
        kind = getattr(peer("pytorch_grad_cam", self.name), self.kind)
        self.formula = kind(nn.LayerNorm(1), [])  # in place of a model, which it would put hooks on

    def explain(self, subject: Subject) -> Heatmaps:
        """Make the map of each direction from one run of the model."""
        target, maps = self._target(subject), []
        for images, q in subject.batches(BATCH):
            run = target.run(images)
            x = target.on_grid(run.value.detach(), len(images))
            each = q.unbind(1) if self.reads_direction else q.unbind(1)[:1]
            found = [self._map(x, target.on_grid(run.gradient(direction), len(images))) for direction in each]
            maps.append(torch.stack(found * (q.shape[1] // len(found)), 1))
        return self.unaudited(subject, resized(torch.cat(maps), subject.grid.size))

    def _target(self, subject: Subject) -> TargetLayer:
        try:
            attention = subject.attentions.each[-1].module
        except SpecError:
            attention = None
        captured = subject.decomposer.views.captured
        if self.layer is not None:
            return TargetLayer.of(captured, attention, self.layer)
        return subject.decomposer.views.derived(TargetLayer, lambda: TargetLayer.of(captured, attention, None))

    def _map(self, x: Float[Tensor, "n channel *grid"], gradient: Tensor) -> Float[Tensor, "n *grid"]:
        activations, grads = (each.detach().double().cpu().numpy() for each in (x, gradient))
        found: Any = self.formula.get_cam_image(None, None, None, activations, grads, False)
        return torch.from_numpy(found).clamp_min(0).to(x)


@register_explainer
class GradCam(Cam):
    """(sum over channels of w x)+ with w the mean of g over patches.

    References:
        Selvaraju et al., arXiv 1610.02391.
    """

    name: ClassVar[str] = "gradcam"
    kind: ClassVar[str] = "GradCAM"


@register_explainer
class GradCamPlusPlus(Cam):
    """(sum over channels of w x)+ with w the sum over patches of a g+, a = g^2 / (2 g^2 + g^3 sum of x).

    References:
        Chattopadhyay et al., arXiv 1710.11063.
    """

    name: ClassVar[str] = "gradcam++"
    kind: ClassVar[str] = "GradCAMPlusPlus"


@register_explainer
class XGradCam(Cam):
    """(sum over channels of w x)+ with w the mean of g over patches, weighted by x.

    References:
        Fu et al., arXiv 2008.02312.
    """

    name: ClassVar[str] = "xgradcam"
    kind: ClassVar[str] = "XGradCAM"


@register_explainer
class HiResCam(Cam):
    """(sum over channels of g x)+.

    References:
        Draelos and Carin, arXiv 2011.08891.
    """

    name: ClassVar[str] = "hirescam"
    kind: ClassVar[str] = "HiResCAM"


@register_explainer
class LayerCam(Cam):
    """(sum over channels of g+ x)+.

    References:
        Jiang et al., LayerCAM, doi 10.1109/TIP.2021.3089943.
    """

    name: ClassVar[str] = "layercam"
    kind: ClassVar[str] = "LayerCAM"


@register_explainer
class EigenCam(Cam):
    """The part above zero of the first principal component of x, centered over patches, with the sign it comes with.

    The map is the same for every direction.

    References:
        Muhammad and Yeasin, arXiv 2008.00299.
    """

    name: ClassVar[str] = "eigencam"
    kind: ClassVar[str] = "EigenCAM"
    reads_direction: ClassVar[bool] = False
