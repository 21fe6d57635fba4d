"""What the methods share that read attention patterns: one run of the model for all directions."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, fx

from vitdecomp.attention.attentions import Attentions, Reach, Run
from vitdecomp.attention.pattern_tokens import Attention
from vitdecomp.heatmaps.explainer import Explainer
from vitdecomp.heatmaps.grid import resized, total
from vitdecomp.heatmaps.heatmaps import Heatmaps
from vitdecomp.heatmaps.parts import Parts
from vitdecomp.heatmaps.subject import Subject

ROOM = 2**28  # bytes of patterns that one run may hold


@dataclass(frozen=True)
class Layer:
    """The map of one layer.

    Attributes:
        name: of the layer.
        grid: on the grid of its own keys, for each head, `(n, head, *grid)`, or of all together, `(n, 1, *grid)`.
        heads: names of the heads, none where the map is no sum over heads.
    """

    name: str
    grid: Float[Tensor, "n head *grid"]
    heads: tuple[str, ...] = ()


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
    _known: dict[int, dict[int, Tensor]] = field(default_factory=dict, repr=False)  # of the last direction

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
        return self.attentions.behind(number, self.images, self.run.kept)

    def gradients(self, direction: int) -> Mapping[int, Float[Tensor, "n pattern"]]:
        """Compute the full gradient of a score with respect to each pattern, by the number of its attention."""
        if direction in self._known:
            return self._known[direction]
        with torch.enable_grad():
            score = (self.run.output * self.directions[:, direction]).sum()
        patterns = self.run.patterns
        found: Sequence[Tensor | None] = torch.autograd.grad(
            score, [*patterns.values()], retain_graph=True, allow_unused=True
        )
        filled = (torch.zeros_like(p) if g is None else g for g, p in zip(found, patterns.values(), strict=True))
        gradients = {number: self.flat(number, gradient) for number, gradient in zip(patterns, filled, strict=True)}
        self._known.clear()
        self._known[direction] = gradients
        return gradients


@dataclass(frozen=True)
class _Sums:
    """Maps as sums over layers, and what each head adds to the sum over a map."""

    layers: Parts
    heads: Parts

    @classmethod
    def of(cls, layers: Sequence[Layer], size: tuple[int, ...]) -> _Sums:
        """Bring the layers of one direction to one grid."""
        grids = [resized(layer.grid, size) for layer in layers]
        names = [name for layer in layers for name in layer.heads]
        amounts = [total(g)[:, : len(layer.heads)] for layer, g in zip(layers, grids, strict=True)]
        return cls(
            Parts.named([layer.name for layer in layers], torch.stack([g.sum(1) for g in grids], 1)[:, None]),
            Parts.named(names, torch.cat(amounts, 1)[:, None]),
        )

    @classmethod
    def joined(cls, several: Sequence[_Sums]) -> _Sums:
        """Put those of several directions behind one another."""
        return cls(Parts.joined([s.layers for s in several], 1), Parts.joined([s.heads for s in several], 1))


class FromAttention(Explainer):
    """A method that reads attention patterns.

    Attributes:
        has_layers: whether the map is a sum over layers.
        reach: how far the gradients flow that it reads.
    """

    signed: ClassVar[bool] = False
    has_layers: ClassVar[bool] = False
    reach: ClassVar[Reach] = Reach.MODEL

    def images_at_once(self, subject: Subject) -> int:
        """Return of how many images the patterns find room."""
        attentions = subject.attentions
        numbers = sum(attentions.each[number].keys.numel() for number in self.reads(attentions))
        return max(1, ROOM // max(numbers * subject.images.element_size(), 1))

    def explain(self, subject: Subject) -> Heatmaps:
        """Make the maps of all directions."""
        return explain_together({self.name: self}, subject)[0][self.name]

    @abstractmethod
    def reads(self, attentions: Attentions) -> Collection[int]:
        """Return the numbers of the attentions whose patterns it reads."""

    def wanted(self, attentions: Attentions) -> Collection[fx.Node]:
        """Return the nodes whose values the method needs too."""
        return ()

    def maps(self, subject: Subject, sums: _Sums) -> Heatmaps:
        """Return the maps, with their layers where the method has several and their heads where it tells them apart."""
        layers = sums.layers if self.has_layers else None
        heads = sums.heads if sums.heads.names else None
        return self.unaudited(subject, sums.layers.values.sum(2), layers=layers, components=heads)

    @abstractmethod
    def layers(self, patterns: Patterns, direction: int) -> Sequence[Layer]:
        """Make the map of one direction as a sum over layers."""


def explain_together(methods: Mapping[str, FromAttention], subject: Subject) -> tuple[dict[str, Heatmaps], Subject]:
    """Make the maps of several methods with one run of the model, and return it as a part of the subject.

    What other methods read of the model is recorded in the same run.
    """
    if not methods:
        return {}, subject
    attentions, size = subject.attentions, subject.grid.size
    wanted = {node for method in methods.values() for node in method.wanted(attentions)}
    read = {number for method in methods.values() for number in method.reads(attentions)}
    reach = max(method.reach for method in methods.values())
    run = attentions.run(subject.images, wanted, read, reach, subject.recorder)
    subject = replace(subject, run=(run.output.detach(), run.recorded))
    patterns = Patterns(attentions, subject.images, run, subject.directions)
    found = {name: list[_Sums]() for name in methods}
    for direction in range(len(subject.asked)):
        for name, method in methods.items():
            found[name].append(_Sums.of(method.layers(patterns, direction), size))
    return {name: method.maps(subject, _Sums.joined(found[name])) for name, method in methods.items()}, subject


def on_grid(attention: Attention, by_key: Float[Tensor, "n head cell"]) -> Float[Tensor, "n head *grid"]:
    """Put values of patches on their grid."""
    return torch.unflatten(by_key, -1, attention.grid)
