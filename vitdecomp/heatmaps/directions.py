"""What is explained: vectors, texts and classes, as directions in the space of a representation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp._utils.registry import did_you_mean
from vitdecomp.component import WHOLE, Component
from vitdecomp.decompose import Decomposer
from vitdecomp.engine.inputs import as_directions
from vitdecomp.errors import InputError, SpecError
from vitdecomp.models.adapter import class_words
from vitdecomp.models.loaded_model import Classifier, EncodeText
from vitdecomp.sources.aligner import Aligner

One: TypeAlias = "str | int"
Ask: TypeAlias = "One | tuple[One, One]"
Asked: TypeAlias = "Tensor | Ask | Sequence[Ask] | Sequence[Sequence[Ask]]"


@dataclass(frozen=True)
class Directions:
    """Directions of scores: one vector for the whole representation, or one for each component.

    Attributes:
        vectors: in the representation's space, `(n, direction, d)`; `None` where maps differ between components.
        by_component: for each component by head, its vectors, `(n, direction, d)`, in place of these; or
            `(1, direction, d)`, the same for all images.
        offset: what the maps add to every score, `(n, direction)`.
        labels: for figures.
    """

    vectors: Float[Tensor, "n direction d"] | None
    by_component: Mapping[str, Float[Tensor, "m direction d"]] = field(default_factory=dict)
    offset: Float[Tensor, "n direction"] | None = None
    labels: tuple[str, ...] = ()

    def portion(self, start: int, images: int) -> Directions:
        """Return those of some images; images beyond the last have its directions."""
        rows = torch.arange(start, start + images)

        def some(x: Tensor) -> Tensor:
            return x[rows.clamp_max(len(x) - 1)]

        return replace(
            self,
            vectors=None if self.vectors is None else some(self.vectors),
            by_component={name: x if len(x) == 1 else some(x) for name, x in self.by_component.items()},
            offset=None if self.offset is None else some(self.offset),
        )

    def __len__(self) -> int:
        """Count the directions of each image."""
        known = next(iter(self.by_component.values())) if self.vectors is None else self.vectors
        return known.shape[1]


@dataclass(frozen=True)
class Reader:
    """Who gives texts and classes vectors.

    Attributes:
        decomposer: of the model.
        aligner: maps from its contributions to the texts' space; `None` where that is the model's own.
        encode_text: texts to vectors; `None` for those of the model itself.
    """

    decomposer: Decomposer
    aligner: Aligner | None = None
    encode_text: EncodeText | None = None

    def directions(self, asked: Asked, images: Tensor) -> Directions:
        """Read what is asked.

        Args:
            asked: vectors `(direction, d)` or `(n, direction, d)`, in the space of the maps where there are some; or
                texts, names or numbers of classes, and pairs of these for differences; one list for all images, or
                one for each.
            images: in the number format that the model takes.

        Raises:
            InputError: vectors of another size, or lists for another number of images.
            SpecError: a text that nobody reads, or a class that the model does not have.
        """
        n, d = len(images), self.decomposer.report_.dimension
        if isinstance(asked, Tensor):
            vectors, labels = asked, tuple[str, ...]()
        else:
            vectors, labels = self._stacked([asked] if isinstance(asked, (str, int)) else asked, n)
        if self.aligner is None:
            vectors = as_directions(vectors, (n, d), 0, n).transpose(0, 1).to(images)
            return Directions(vectors, labels=labels)
        return self._pulled(vectors.to(images), labels, n)

    def _stacked(self, asked: Sequence[Ask] | Sequence[Sequence[Ask]], n: int) -> tuple[Tensor, tuple[str, ...]]:
        """Return vectors of all that is asked, and labels where they are the same for every image."""
        if not asked:
            raise InputError("directions: nothing to explain; give vectors, texts or classes")
        if not isinstance(asked[0], list):
            return torch.stack([self._vector(each) for each in asked]), tuple(map(label, asked))  # type: ignore[arg-type]
        if len(asked) != n or len({len(each) for each in asked}) != 1:  # type: ignore[arg-type]
            raise InputError(f"directions: {len(asked)} lists for {n} images; give one for each, all of one length")
        return torch.stack([torch.stack([self._vector(a) for a in each]) for each in asked]), ()  # type: ignore[union-attr]

    def _vector(self, ask: Ask) -> Float[Tensor, " d"]:
        if isinstance(ask, tuple):
            return self._vector(ask[0]) - self._vector(ask[1])
        if isinstance(ask, str) and self._encoder is not None:
            found = self._encoder([ask])[0].detach().double()
            unit: Tensor = found / found.norm()
            return unit
        return class_vector(self.decomposer.loaded_.classifier, ask, self.decomposer.loaded_.spec).double()

    @property
    def _encoder(self) -> Callable[[Sequence[str]], Tensor] | None:
        if self.encode_text is not None:
            return self.encode_text
        if self.aligner is not None:
            raise SpecError("texts through maps need the encoder of the space that they lead to: give encode_text=")
        return self.decomposer.loaded_.encode_text

    def _pulled(self, q: Tensor, labels: tuple[str, ...], n: int) -> Directions:
        """Take directions of the maps' space back to the components'."""
        assert self.aligner is not None
        parts = self.decomposer.components_of("head")
        maps = {c: self.aligner.restricted(c) for c in self._mapped(parts)}
        d_clip = next(iter(maps.values())).shape[1]
        bias = getattr(getattr(self.aligner, "maps_", None), "bias", None)
        for_all = q.ndim == 2
        q = as_directions(q, (n, d_clip), 0, n).transpose(0, 1)
        offset = None if bias is None else q @ bias.to(q)
        if WHOLE in maps:
            return Directions(q @ maps[WHOLE].to(q).T, offset=offset, labels=labels)
        by_component = {c.name: (q[:1] if for_all else q) @ w.to(q).T for c, w in maps.items()}
        return Directions(None, by_component, offset, labels)

    def _mapped(self, parts: Sequence[Component]) -> Sequence[Component]:
        known = getattr(self.aligner, "components_", parts)
        if set(known) == {WHOLE}:
            return (WHOLE,)
        missing = [c.name for c in parts if c not in known]
        if missing:
            raise InputError(
                f"the maps have none for {missing[0]}: heatmaps need maps of the representation or of its heads "
                "(vitdecomp align --by representation, or --by head)"
            )
        return parts


def class_vector(classifier: Classifier | None, ask: One, spec: str) -> Float[Tensor, " d"]:
    """Return the row of a classifier.

    Raises:
        SpecError: no classifier, or no such class.
    """
    if classifier is None:
        what = f"text {ask!r}: {spec} reads no texts" if isinstance(ask, str) else f"class {ask}: {spec} has no classes"
        raise SpecError(f"{what}; give maps into a CLIP's space, or vectors")
    return classifier.layer.weight.detach()[class_number(classifier, ask, spec)]


def class_number(classifier: Classifier, ask: One, spec: str) -> int:
    """Find a class by its number, a name or an id.

    Raises:
        SpecError: no such class.
    """
    names, classes = classifier.names, len(classifier.layer.weight)
    found = [] if isinstance(ask, int) else _named(classifier, ask)
    if len(found) == 1:
        return found[0]
    if found:
        raise SpecError(f"class {ask!r} of {spec} may be any of {', '.join(map(str, found))}: give the number")
    if isinstance(ask, str) and not ask.isdecimal():
        words = class_words(ask)
        means = "" if words == ask else f" ({words})"
        raise SpecError(f"{spec} has no class {ask!r}{means}{did_you_mean(words, names)}")
    if not 0 <= int(ask) < classes:
        raise SpecError(f"{spec} has no class {ask}: its classes are 0 to {classes - 1}")
    return int(ask)


def _named(classifier: Classifier, name: str) -> list[int]:
    """Return the classes of an id or a name; ImageNet's have several names, as in `tench, Tinca tinca`."""
    for whole in (classifier.ids, classifier.names):
        if name in whole:
            return [i for i, known in enumerate(whole) if known == name]
    return [i for i, known in enumerate(classifier.names) if name in known.split(", ")]


def label(ask: Ask) -> str:
    """Write what is asked in words."""
    return f"{ask[0]} - {ask[1]}" if isinstance(ask, tuple) else str(ask)
