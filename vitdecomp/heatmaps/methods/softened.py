"""`softened`: the frozen attribution through patterns that are mostly spread out evenly."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp.attention.pattern_gates import PatternGate, even, pattern_gates
from vitdecomp.engine.pull import pull
from vitdecomp.errors import SpecError
from vitdecomp.heatmaps.explainer import Explainer, register_explainer
from vitdecomp.heatmaps.grid import along_each, total
from vitdecomp.heatmaps.heatmaps import Audit, Heatmaps
from vitdecomp.heatmaps.subject import Subject
from vitdecomp.trace.linear_graph import CONSTANT, SOURCE
from vitdecomp.trace.rule import Gate


@register_explainer
class Softened(Explainer):
    """Frozen gradient x (image - its median color), each pattern A replaced by (1 - m) A + m (its row spread evenly).

    The pattern says where a head looked, the values what stands there; an even row asks for the values alone. The map
    is at the resolution of the input, every pixel spread by a Gaussian. It and the constants, to which the median color
    belongs, sum to the score through softened patterns; the audit's residual is what the true ones add to it. With
    `mix=0` there is none: the map adds up.

    Args:
        mix: m, the share of the even row, 0 .. 1.
        blur: standard deviation of the Gaussian, as a share of the length of each axis (height, width); 0 for none.

    Raises:
        SpecError: a mix or a blur outside its range.
    """

    name: ClassVar[str] = "softened"

    def __init__(self, mix: float = 0.85, blur: float = 3 / 64) -> None:
        if not 0 <= mix <= 1:
            raise SpecError(f"softened: mix must lie between 0 and 1, not {mix}")
        if not blur >= 0:
            raise SpecError(f"softened: blur must not be negative, not {blur}")
        self.mix, self.blur = mix, blur

    def gates(self, subject: Subject) -> Collection[Gate]:
        """Return those of the frozen map."""
        return subject.frozen.gates

    def explain(self, subject: Subject) -> Heatmaps:
        """Pull the directions back to the pixels."""
        recorded = self._softened(subject.recorded, pattern_gates(subject.decomposer.views.captured))
        pixels, constants, placeless = self._swept(subject, recorded)
        constants = subject.with_offset(constants)
        residual = subject.score - constants - placeless - total(pixels)
        audit = Audit.of(subject.score, constants, placeless, residual)
        if self.mix == 0:
            return self.audited(subject, pixels, audit)
        return Heatmaps(pixels, subject.size, audit, self.name, subject.labels, self.signed)

    def _softened(self, recorded: Mapping[Gate, Any], gates: tuple[PatternGate, ...]) -> dict[Gate, Any]:
        """Return what was recorded, with its patterns mixed."""
        mixed = {
            each.gate: (1 - self.mix) * recorded[each.gate] + self.mix * even(recorded[each.gate], each.keys)
            for each in gates
            if each.gate in recorded
        }
        return {**recorded, **mixed}

    def _swept(self, subject: Subject, recorded: Mapping[Gate, Any]) -> tuple[Tensor, Tensor, Tensor]:
        """Return the maps of all directions, constants, and what has no place, the images in front."""
        frozen, images = subject.frozen, subject.images
        color = median_over(images, subject.axes)
        spread = [spreading(length, self.blur * length, images) for length in subject.size]
        sweeps = []
        for adjoints in pull(frozen.graph, recorded, subject.by_direction):
            adjoint = frozen.at_image(adjoints)
            pixels = subject.by_place((images - color) * adjoint)
            products = {i: recorded[leaf.value] * adjoints[i] for i, leaf in frozen.graph.leaves.items()}
            constants, placeless = (frozen.total(products, kind, len(images)) for kind in (CONSTANT, SOURCE))
            constants = constants + (color * adjoint).flatten(1).sum(1)
            sweeps.append((along_each(pixels, spread), constants, placeless))
        maps, constants, placeless = (torch.stack(list(each), 1) for each in zip(*sweeps, strict=True))
        return maps, constants, placeless


def median_over(x: Float[Tensor, "n *image"], axes: Sequence[int]) -> Float[Tensor, "n ..."]:
    """Take the median over some axes, which stay with length one: the color of an image, for each channel."""
    rest = [axis for axis in range(x.ndim) if axis not in axes]
    median = x.permute(*rest, *axes).flatten(len(rest)).median(-1).values
    return median.reshape([1 if axis in axes else size for axis, size in enumerate(x.shape)])


def spreading(length: int, sigma: float, like: Tensor) -> Float[Tensor, "to from"]:
    """Spread each place of a line over its neighbors by a Gaussian; columns sum to one, so that sums stay."""
    at = torch.arange(length, device=like.device, dtype=like.dtype)
    if sigma == 0:
        return torch.eye(length, device=like.device, dtype=like.dtype)
    weights = torch.exp(-((at[:, None] - at) / sigma).square() / 2)
    return weights / weights.sum(0)
