"""The gate gap: how much of a score's gradient goes through gates, which a decomposition holds fixed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp.engine.pull import pull
from vitdecomp.errors import SpecError
from vitdecomp.heatmaps.differentiable import run
from vitdecomp.heatmaps.frozen_map import FrozenMap
from vitdecomp.heatmaps.heatmaps import Heatmaps
from vitdecomp.heatmaps.subject import Subject


def gate_gap(subject: Subject, maps: Mapping[str, Heatmaps]) -> dict[str, Heatmaps]:
    """Write the gate gap into the audit of each map; NaN where the frozen map does not reach the image."""
    try:
        gap = measure_gap(subject)
    except SpecError:
        return dict(maps)
    return {name: replace(each, audit=replace(each.audit, gate_gap=gap)) for name, each in maps.items()}


def measure_gap(subject: Subject) -> Float[Tensor, "n direction"]:
    """Compute |g - g°| / (|g| + |g°|), from 0 to 1, for each image and direction.

    g is the full gradient of the score with respect to the image, g° the one with all gates frozen: attention
    patterns, f(x)/x of activations, 1/std of norms.

    Raises:
        SpecError: with frozen gates nothing of the image reaches the representation, or there is no one direction.
    """
    frozen, gaps = subject.frozen, []
    for images, q in subject.portions(frozen.recorder):
        full, held = _full(subject, images, q), _frozen(frozen, images, q)
        gaps.append((full - held).norm(dim=2) / (full.norm(dim=2) + held.norm(dim=2)).clamp_min(1e-30))
    return torch.cat(gaps, 1).T[: len(subject.images)]


def _full(subject: Subject, images: Tensor, q: Float[Tensor, "direction n d"]) -> Float[Tensor, "direction n pixel"]:
    x = images.detach().requires_grad_()
    output = run(subject.decomposer.captured.module, x)
    with torch.enable_grad():
        scores = [(output * each).sum() for each in q]
    return torch.stack([torch.autograd.grad(s, x, retain_graph=True)[0].flatten(1) for s in scores])


def _frozen(frozen: FrozenMap, images: Tensor, q: Float[Tensor, "direction n d"]) -> Float[Tensor, "direction n pixel"]:
    recorded = frozen.recorder(images)[1]
    sweeps = pull(frozen.graph, recorded, q)
    return torch.stack([frozen.at_image(adjoints).flatten(1) for adjoints in sweeps])
