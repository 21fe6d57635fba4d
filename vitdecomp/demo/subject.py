"""A model whose representations of the demo's pictures are taken apart."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vitdecomp.component import Component
from vitdecomp.contributions import Contributions
from vitdecomp.decompose import Decomposer
from vitdecomp.demo.world import World
from vitdecomp.metrics import Knowledge, choose, component_decodability
from vitdecomp.models.prepare import ModelOptions, PreparedModel, prepare
from vitdecomp.report import Report

BATCH = 32  # pictures that are decomposed together
ROOM = 2**29  # bytes that one model's contributions may take
CHOSEN = 6  # components that stand for a factor
REMOVED = 24  # components that are taken away: fewer leave enough copies of most factors in the rest

Labels = Mapping[str, Int64[np.ndarray, "n"]]


@dataclass(frozen=True, eq=False)
class Subject:
    """A decomposed model.

    Components are chosen by the even pictures and measured on the odd ones, so that no choice flatters itself.

    Attributes:
        prepared: the model. dec: fitted to it. world: the pictures, as many of them as were decomposed.
        contributions: to the representations of all these pictures. representation: as the model itself has them.
        seconds: that the decomposition of these pictures took, tracing not included.
    """

    prepared: PreparedModel
    dec: Decomposer
    world: World
    contributions: Contributions
    representation: Float[Tensor, "n d"]
    seconds: float

    @property
    def name(self) -> str:
        """The model's spec."""
        return self.prepared.loaded.spec

    @property
    def report(self) -> Report:
        """What was found out when the model was traced."""
        return self.dec.report_

    def part(self, first: int) -> tuple[Contributions, Labels]:
        """Return every other picture, from the given one on: contributions, and labels."""
        c = self.contributions
        return (
            replace(c, values=c.values[first::2], error=c.error[first::2]),
            {factor: values[first::2] for factor, values in self.world.labels.items()},
        )

    @cached_property
    def knowledge(self) -> Knowledge:
        """What can be read from each component, on the even pictures."""
        c, labels = self.part(0)
        return component_decodability(c, labels)

    @cached_property
    def chosen(self) -> Mapping[str, tuple[Component, ...]]:
        """The components that stand for each factor."""
        return self.best(CHOSEN)

    def best(self, most: int) -> Mapping[str, tuple[Component, ...]]:
        """Return the components that know each factor before all others, half of the computed ones at most."""
        computed = sum(not c.is_constant for c in self.contributions.components)
        return choose(self.knowledge, min(most, max(1, computed // 2)))


def decompose(options: ModelOptions, world: World, most: int) -> Subject:
    """Load a model, and take apart its representations of at most so many pictures."""
    prepared = prepare(options)
    dec = Decomposer(prepared.loaded)
    dec.fit(prepared.batch(world.pictures[:1]))
    report = dec.report_
    size = len(dec.components_) * report.dimension * torch.finfo(prepared.dtype).bits // 8
    some = world.some(min(most, max(1, ROOM // size)))
    began = time.perf_counter()
    pieces, whole = [], []
    model = prepared.loaded.representation()
    for start in range(0, len(some), BATCH):
        batch = prepared.batch(some.pictures[start : start + BATCH])
        pieces.append(dec.transform(batch))
        with torch.no_grad():
            whole.append(model(batch))
    seconds = time.perf_counter() - began
    return Subject(prepared, dec, some, Contributions.joined(pieces), torch.cat(whole), seconds)
