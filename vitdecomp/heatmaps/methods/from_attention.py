"""What the methods share that read attention patterns: one run of the model for all directions."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, fx

from vitdecomp.heatmaps.attention import Attentions, Run
from vitdecomp.heatmaps.explainer import Explainer
from vitdecomp.heatmaps.grid import resized
from vitdecomp.heatmaps.heatmaps import Heatmaps
from vitdecomp.heatmaps.pattern_tokens import Attention
from vitdecomp.heatmaps.subject import Subject

ROOM = 2**28  # bytes of patterns that one run may hold


@dataclass(frozen=True)
class Patterns:
    """The patterns of one run, each with a flat axis behind that of the images.

    Attributes:
        attentions: of the model. images: some. run: on them. directions: for each of them, `(n, direction, d)`.
    """

    attentions: Attentions
    images: Tensor
    run: Run
    directions: Float[Tensor, "n direction d"]
    _known: dict[int, list[Tensor]] = field(default_factory=dict, repr=False)  # of the last direction

    @property
    def each(self) -> Sequence[Attention]:
        """The attentions, in the order of the model."""
        return self.attentions.each

    def flat(self, number: int, x: Tensor) -> Float[Tensor, "n pattern"]:
        """Flatten the elements of a pattern, or of something of its shape."""
        return self.attentions.flat(number, x, len(self.run.output)).detach()

    def pattern(self, number: int) -> Float[Tensor, "n pattern"]:
        """Return the probabilities of an attention."""
        return self.flat(number, self.run.patterns[number])

    def behind(self, number: int) -> Run:
        """Run what is behind a block, without the later blocks, on the tokens that this run left there."""
        return self.attentions.behind(number, self.images, self.run.kept[self.attentions.blocks[number].output])

    def gradients(self, direction: int) -> list[Float[Tensor, "n pattern"]]:
        """Compute the full gradient of a score with respect to each pattern."""
        if direction in self._known:
            return self._known[direction]
        with torch.enable_grad():
            score = (self.run.output * self.directions[:, direction]).sum()
        found = torch.autograd.grad(score, self.run.patterns, retain_graph=True, allow_unused=True)
        pairs: Iterable[tuple[Tensor | None, Tensor]] = zip(found, self.run.patterns, strict=True)
        filled = (torch.zeros_like(p) if g is None else g for g, p in pairs)
        gradients = [self.flat(number, gradient) for number, gradient in enumerate(filled)]
        self._known.clear()
        self._known[direction] = gradients
        return gradients


class FromAttention(Explainer):
    """A method that reads attention patterns."""

    signed: ClassVar[bool] = False

    def explain(self, subject: Subject) -> Heatmaps:
        """Make the maps of all directions."""
        return explain_together({self.name: self}, subject)[self.name]

    def wanted(self, attentions: Attentions) -> Collection[fx.Node]:
        """Return the nodes whose values the method needs too."""
        return ()

    @abstractmethod
    def layers(self, patterns: Patterns, direction: int) -> Sequence[Float[Tensor, "n h w"]]:
        """Make the map of one direction as a sum over layers, each on the grid of its own keys."""


def explain_together(methods: Mapping[str, FromAttention], subject: Subject) -> dict[str, Heatmaps]:
    """Make the maps of several methods with one run of the model, in portions of the batch."""
    if not methods:
        return {}
    attentions, size = subject.attentions, subject.grid.size
    wanted = {node for method in methods.values() for node in method.wanted(attentions)}
    one = sum(a.keys.numel() for a in attentions.each) * subject.images.element_size()
    most = max(1, ROOM // one)
    parts: dict[str, list[Tensor]] = {name: [] for name in methods}
    for images, q in zip(torch.split(subject.images, most), torch.split(subject.directions, most), strict=True):
        patterns = Patterns(attentions, images, attentions.run(images, wanted), q)
        found: dict[str, list[Tensor]] = {name: [] for name in methods}
        for direction in range(q.shape[1]):
            for name, method in methods.items():
                layers = [resized(grid, size) for grid in method.layers(patterns, direction)]
                found[name].append(torch.stack(layers).sum(0))
        for name, maps in found.items():
            parts[name].append(torch.stack(maps, 1))
    return {name: method.unaudited(subject, torch.cat(parts[name])) for name, method in methods.items()}


def on_grid(attention: Attention, by_key: Float[Tensor, "n cell"]) -> Float[Tensor, "n h w"]:
    """Put values of patches on their grid."""
    return torch.unflatten(by_key, -1, attention.grid)
