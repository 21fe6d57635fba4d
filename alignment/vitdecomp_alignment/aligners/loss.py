"""The loss of CompAlign, as a module whose parameters are the maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from vitdecomp.distributed.process_group import Ranks
from vitdecomp_alignment.aligners.maps import LinearMaps

Penalty = Callable[[Sequence[Tensor], int], Tensor]


class MapsModule(nn.Module):
    """Maps in their components' own coordinates, and how far their sum is from a target.

    loss = mean(1 - cos(sum_i c_i W_i + b, z)) + orthogonality penalty(W)  (arXiv 2406.01583, equation 5)

    Args:
        start: the maps to begin with, whose spans hold every component.
        penalty: of the maps. orthogonality: its weight; `None` keeps all maps orthogonal by construction.
    """

    def __init__(self, start: LinearMaps, penalty: Penalty, orthogonality: float | None) -> None:
        super().__init__()
        self.start, self.penalty, self.orthogonality = start, penalty, orthogonality
        self.parts = nn.ModuleList(_Weight(w) for w in start.within())
        self.bias = None if start.bias is None else nn.Parameter(start.bias.clone())
        if orthogonality is None:
            with torch.random.fork_rng(devices=[]):  # torch completes a map to a square one at random
                torch.manual_seed(0)
                for part in self.parts:
                    parametrizations.orthogonal(part, "weight")

    @property
    def weights(self) -> list[Float[Tensor, "_ _ d_clip"]]:
        """The maps, one tensor for each span."""
        return [cast(Tensor, part.weight) for part in self.parts]

    @torch.no_grad()
    def maps(self) -> LinearMaps:
        """Return the maps as they are now."""
        start, bias = self.start, None if self.bias is None else self.bias.detach().clone()
        corrections = (w - span.restrict(start.shared) for w, span in zip(self.weights, start.spans, strict=True))
        return replace(start, corrections=tuple(corrections), bias=bias)

    def distance(self, x: Sequence[Float[Tensor, "n _"]], target: Float[Tensor, "n d_clip"]) -> Float[Tensor, " n"]:
        """1 - cosine between the sum of the mapped contributions and the target; x are coordinates in each span."""
        parts = (own.to(weight) @ weight.flatten(0, 1) for own, weight in zip(x, self.weights, strict=True))
        total = reduce(torch.add, parts)
        if self.bias is not None:
            total = total + self.bias
        return 1 - torch.cosine_similarity(total, target.to(total), dim=1)

    def forward(
        self, x: Sequence[Float[Tensor, "n _"]], target: Float[Tensor, "n d_clip"], n: int, ranks: Ranks
    ) -> Float[Tensor, ""]:
        """Compute this process's part of the loss of n images: its images, and the penalty of its components."""
        return self.distance(x, target).sum() / n + self.penalised(ranks)

    def penalised(self, ranks: Ranks) -> Float[Tensor, ""]:
        """Compute the part of the loss without images: the penalty of some components, with its weight."""
        weights = self.weights
        if not self.orthogonality:
            return weights[0].new_zeros(())
        own = [weight[ranks.rank :: ranks.world_size] for weight in weights]
        return self.orthogonality * self.penalty(own, sum(len(weight) for weight in weights))


class _Weight(nn.Module):
    """One parameter, which may be given a parametrization."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(value.clone())
