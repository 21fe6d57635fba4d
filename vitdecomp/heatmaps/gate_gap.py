"""The gate gap: how much of a score's gradient goes through gates, which a decomposition holds fixed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp.attention.differentiable import run
from vitdecomp.engine.pull import pull
from vitdecomp.errors import SpecError
from vitdecomp.heatmaps.heatmaps import Heatmaps
from vitdecomp.heatmaps.subject import Subject
from vitdecomp.trace.rule import Gate


def gap_gates(subject: Subject) -> Collection[Gate]:
    """Return what is read of the run of the model; nothing where the frozen map does not reach the image."""
    try:
        return subject.frozen.gates
    except SpecError:
        return ()


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
    frozen = subject.frozen
    x = subject.images.detach().requires_grad_()
    with torch.enable_grad():
        output = run(subject.decomposer.views.captured, x)
    directions, gaps = subject.by_direction, []
    for q, adjoints in zip(directions, pull(frozen.graph, subject.recorded, directions), strict=True):
        with torch.enable_grad():
            score = (output * q).sum()
        full = torch.autograd.grad(score, x, retain_graph=True)[0].flatten(1)
        held = frozen.at_image(adjoints).flatten(1)
        gaps.append((full - held).norm(dim=1) / (full.norm(dim=1) + held.norm(dim=1)).clamp_min(1e-30))
    return torch.stack(gaps, 1)
