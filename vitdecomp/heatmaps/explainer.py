"""What a method for heatmaps answers, and the table of all methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from inspect import signature
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from vitdecomp._utils.registry import Registry, did_you_mean
from vitdecomp.errors import InexactError, SpecError
from vitdecomp.heatmaps.heatmaps import Audit, Heatmaps
from vitdecomp.heatmaps.parts import Parts
from vitdecomp.heatmaps.subject import Subject
from vitdecomp.trace.rule import Gate

EXPLAINERS: Registry[str, type[Explainer]] = Registry("explainer", "vitdecomp.explainers")


class Explainer(ABC):
    """One method for heatmaps. Its settings are the keywords of its constructor.

    Attributes:
        name: what users call it by.
        signed: whether values below zero mean evidence against.
        adds_up: whether the map, the constants and what has no place sum to the score.
        takes_components: whether it can explain some of the components alone.
    """

    name: ClassVar[str]
    signed: ClassVar[bool] = True
    adds_up: ClassVar[bool] = False
    takes_components: ClassVar[bool] = False

    def gates(self, subject: Subject) -> Collection[Gate]:
        """Return what the method reads of the run that all methods share, in `subject.recorded`.

        Raises:
            SpecError: the method has no meaning for this model.
        """
        return ()

    def images_at_once(self, subject: Subject) -> int:
        """Return how many images find room at a time."""
        return len(subject.images)

    @abstractmethod
    def explain(self, subject: Subject) -> Heatmaps:
        """Make the maps of a batch.

        Raises:
            SpecError: the method has no meaning for this model.
            InexactError: the method claims to add up, and does not.
        """

    def unaudited(self, subject: Subject, grid: Tensor, **parts: Parts | None) -> Heatmaps:
        """Return the maps of a method that does not claim to add up.

        Args:
            subject: what is explained.
            grid: the maps.
            parts: `layers` or `components` of the maps, where the method tells them apart.
        """
        audit = Audit.of(subject.score)
        return Heatmaps(grid, subject.size, audit, self.name, subject.labels, self.signed, **parts)

    def audited(self, subject: Subject, grid: Tensor, audit: Audit, **parts: Parts | None) -> Heatmaps:
        """Return the maps of a method that adds up.

        Args:
            subject: what is explained.
            grid: the maps.
            audit: what they leave out.
            parts: as for `unaudited`.

        Raises:
            InexactError: a residual is larger than the tolerance, relative to the direction and the representation.
        """
        error = audit.residual.abs() / subject.scale.clamp_min(torch.finfo(subject.scale.dtype).tiny)
        allowed = subject.decomposer.allowed_error
        if not bool((error <= allowed).all()):
            raise InexactError(
                f"{self.name}: the map and what has no place miss the score by {float(error.max()):.1e} of "
                f"|direction| |representation| (allowed {allowed:.0e}): report this model"
            )
        return Heatmaps(grid, subject.size, audit, self.name, subject.labels, self.signed, **parts)


E = TypeVar("E", bound=type[Explainer])


def register_explainer(kind: E, *, replace: bool = False) -> E:
    """Class decorator: make a method known by its name.

    Raises:
        SpecError: the name is taken and `replace` is not set.
    """
    EXPLAINERS.add(kind.name, kind, replace=replace)
    return kind


def explainers() -> tuple[str, ...]:
    """List the names of all methods, those of installed plugins included."""
    import vitdecomp.heatmaps.methods  # noqa: F401 - they register themselves

    return tuple(EXPLAINERS.load_plugins())


def make_explainer(method: str, settings: Mapping[str, Any]) -> Explainer:
    """Make an explainer with settings.

    Raises:
        SpecError: no such method, or no such setting.
        LoadError: the method's plugin cannot be imported.
    """
    explainers()
    kind = EXPLAINERS[method]
    known = [name for name in signature(kind).parameters if name != "self"]
    for name in settings:
        if name not in known:
            raise SpecError(f"method {method!r} has no setting {name!r}{did_you_mean(name, known)}")
    return kind(**settings)
