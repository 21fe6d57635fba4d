"""Products of directions with contributions: by pulling the directions back, or by pushing the components forth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp.engine.component_set import ComponentSet
from vitdecomp.engine.pull import pull_together
from vitdecomp.trace.paths import LinearPaths
from vitdecomp.trace.rule import Gate

PULLED = 4  # directions: more of them cost more than all contributions


def products(
    paths: LinearPaths,
    component_set: ComponentSet,
    recorded: Mapping[Gate, Any],
    directions: Float[Tensor, "direction n d"],
) -> Float[Tensor, "n direction *axes"]:
    """<direction, contribution> of every component, in whichever order costs less.

    Args:
        paths: of the model.
        component_set: its components.
        recorded: the gates of a batch of n images.
        directions: one or more for each image.
    """
    n = directions.shape[1]
    if len(directions) > PULLED and not component_set.granularity.kinds:
        return torch.einsum("ncd,qnd->nqc", component_set.pushed(recorded, n, directions[0]), directions)
    sweeps = pull_together(paths.graph, recorded, directions)
    return torch.cat([component_set.attributed(recorded, adjoints, n) for adjoints in sweeps], 1)
