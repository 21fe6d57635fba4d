"""What all aligners of this package share: one linear map for each component."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from copy import copy
from inspect import signature
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp._utils.estimator import Estimator
from vitdecomp._utils.files import make_directory
from vitdecomp._utils.schema import checked
from vitdecomp._utils.tolerance import check_varies
from vitdecomp.component import Component
from vitdecomp.contributions import Contributions
from vitdecomp.errors import InputError, SpecError
from vitdecomp.provenance import Origin
from vitdecomp.sources.aligner import Aligner
from vitdecomp.sources.source import Source
from vitdecomp.units.directions import Directions
from vitdecomp_alignment.aligners import maps_file, maps_folder
from vitdecomp_alignment.aligners.basis_change import BasisChanges
from vitdecomp_alignment.aligners.coefficients import Coefficients
from vitdecomp_alignment.aligners.maps import LinearMaps

logger = logging.getLogger(__name__)

Self = TypeVar("Self", bound="LinearAligner")
# What maps show of a component -> what they are best for (docs/alignment.md, "How near, and how true").
PURPOSES: Mapping[str, str] = {
    "added": "maps show what each component adds to the total, which is best to search, explain and remove",
    "alone": "maps show what can be read from each component alone, which is best to name and rank",
}
REFIT = {"added": "the default settings", "alone": "--method closed-form --set prior=own"}


class LinearAligner(Estimator, Aligner):
    """Maps that are linear, one for each component, with scikit-learn's manners.

    Attributes:
        maps_: the fitted maps.
        metrics_: how well they fit, by name.
        fingerprint_: checksum of the contributions that they were fitted to.
        origin_: the model of these contributions, if it is known.
        target_: the model whose space they are taken to, if it is known; set it before `save`.
    """

    maps_: LinearMaps
    metrics_: dict[str, float]
    fingerprint_: str
    origin_: Origin | None = None
    target_: Origin | None = None

    @property
    def shows(self) -> str:
        """Tell what the maps show of a component: `"added"` or `"alone"`, the keys of `PURPOSES`."""
        return "added"

    def advise(self, wanted: str) -> None:
        """Log a warning if other maps would serve a command better: those that show what is `wanted`."""
        if self.shows != wanted:
            logger.warning("these %s; better here: `vitdecomp align` with %s", PURPOSES[self.shows], REFIT[wanted])

    @property
    def components_(self) -> tuple[Component, ...]:
        """The component axis."""
        return self._fitted().components

    @property
    def weights_(self) -> Float[Tensor, "component d d_clip"]:
        """All maps in full; a contribution c becomes c W."""
        return self._fitted().dense()

    def transform(self, c: Contributions) -> Contributions:
        """Map contributions into the other model's space, `(n, component, d_clip)`; a bias is one component more.

        Raises:
            InputError: they are of another model or of other components than those of `fit`.
            SpecError: not fitted yet.
        """
        maps = self._fitted()
        if self.origin_ is not None:
            self.origin_.check(c.origin, "the maps are for")
        return maps(c)

    def restricted(self, component: Component, basis: Float[Tensor, "d r"] | None = None) -> Float[Tensor, "r d_clip"]:
        """Return the map of one component, or what a subspace sees of it; no other map is built.

        Raises:
            SpecError: not fitted yet, or not to this component.
        """
        return self._fitted().restricted(component, basis)

    def split(self: Self, directions: Directions) -> Self:
        """Return an aligner of the same kind for the units of the components, each with the map of its component.

        Raises:
            InputError: directions of other components. SpecError: not fitted yet.
        """
        units = copy(self)
        units.maps_ = self._fitted().split(directions)
        return units

    def score(self, source: Source, target: Tensor, *, batch_size: int = 256, most: int | None = None) -> float:
        """Compute the mean cosine between the mapped totals and the other model's vectors, from -1 to 1.

        Args:
            source: contributions.
            target: the other model's vectors of the same images, `(n, d_clip)`.
            batch_size: images read at a time.
            most: images that are looked at, if there are more; a store is read in as many places.
        """
        maps, n = self._fitted(), len(source)
        maps.check(source.components, source.dimension)
        check_target(source, target)
        if self.origin_ is not None:
            self.origin_.check(source.take(range(1)).origin, "the maps are for")
        found, seen, kept = 0.0, 0, Coefficients(source)
        coordinates = BasisChanges(kept, maps.spans)
        for rows, a in kept.scan(batch_size) if most is None or n <= most else kept.sample(most, 0):
            mapped = maps.together(coordinates(a), kept.total(a))
            goal = target[torch.as_tensor(rows)].to(mapped)
            found, seen = found + float(torch.cosine_similarity(mapped, goal, dim=1).sum()), seen + len(a)
        return found / seen

    def settings(self) -> dict[str, Any]:
        """Return the arguments in plain values; of initial maps only that they were given."""
        return {k: "maps" if isinstance(v, LinearMaps) else v for k, v in self.get_params().items()}

    def save(self, path: Path | str) -> None:
        """Write the maps, the settings and the metrics to one safetensors file.

        Raises:
            OutputError: it cannot be written.
            SpecError: not fitted yet.
        """
        maps_file.write(
            Path(path),
            maps_file.MapsFile(
                aligner=type(self).__name__,
                settings=self.settings(),
                maps=self._fitted(),
                metrics=self.metrics_,
                fingerprint=self.fingerprint_,
                origin=self.origin_,
                target=self.target_,
            ),
        )

    @classmethod
    def load(cls: type[Self], path: Path | str) -> Self:
        """Read what `save` wrote.

        Raises:
            InputError: no such file, a damaged one, or one of another kind of aligner.
        """
        held = maps_file.read(Path(path))
        if held.aligner != cls.__name__:
            raise InputError(f"{path} holds a {held.aligner}, not a {cls.__name__}: use {held.aligner}.load")
        aligner = cls(**_settings(cls, held.settings, f"{path}: settings"))
        aligner.maps_, aligner.metrics_, aligner.fingerprint_ = held.maps, dict(held.metrics), held.fingerprint
        aligner.origin_, aligner.target_ = held.origin, held.target
        return aligner

    def save_pretrained(self, folder: Path | str) -> None:
        """Write the maps to a folder as the Hugging Face hub has them: `maps.safetensors` and a card.

        The file is what `save` writes. The card, `README.md`, has metadata by which the hub finds maps of a model. One
        that is there stays as it is.
        `hf upload ORGANIZATION/NAME FOLDER` publishes the folder.

        Raises:
            OutputError: it cannot be written.
            SpecError: not fitted yet.
        """
        self._fitted()
        place = Path(folder)
        make_directory(place)
        self.save(place / maps_folder.MAPS)
        maps_folder.write_card(place)

    @classmethod
    def from_pretrained(cls: type[Self], place: Path | str, model: str | None = None) -> Self:
        """Read what `save_pretrained` wrote, from a folder or from the Hugging Face hub and its cache.

        `HF_HOME` and `HF_HUB_OFFLINE` mean what they mean to the hub's own library. Nothing but maps is fetched, and no
        code.

        Args:
            place: a folder with maps, or with folders of maps; `hf:ORGANIZATION/NAME`, with `@REVISION` if need be; or
                `hf:auto`, which looks for maps of the model on the hub.
            model: its spec, by which one of several maps is chosen.

        Raises:
            InputError: no maps, none of the model, damaged ones, or those of another kind of aligner.
            SpecError: several maps may be meant.
            LoadError: the hub does not answer, and its cache does not have them.
        """
        return cls.load(maps_folder.find_maps(place, model))

    def _fitted(self) -> LinearMaps:
        if not hasattr(self, "maps_"):
            raise SpecError(f"this {type(self).__name__} is not fitted yet: call fit(contributions, target) first")
        return self.maps_


def _settings(kind: type[LinearAligner], told: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Check the arguments of an aligner in a file, each against the type that the aligner declares."""
    hints, names = get_type_hints(kind.__init__), signature(kind).parameters
    unknown = [name for name in told if name not in names]
    if unknown:
        raise InputError(f"{place} has {unknown[0]!r}, which {kind.__name__} does not take: {maps_file.REMEDY}")
    return {
        name: checked(value, hints.get(name, Any), place=f"{place}.{name}", remedy=maps_file.REMEDY)
        for name, value in told.items()
    }


def check_seed(seed: int) -> None:
    """Raise `SpecError` for a random state that numpy does not take."""
    if seed < 0:
        raise SpecError(f"random_state must be a whole number of 0 or more, not {seed!r}")


def check_target(source: Source, target: Any) -> None:
    """Raise `InputError` unless there is one finite vector for each of two images or more, and they differ."""
    if not isinstance(target, Tensor) or target.ndim != 2 or len(target) != len(source):
        got = f"shape {tuple(target.shape)}" if isinstance(target, Tensor) else type(target).__name__
        raise InputError(
            f"the target must be a tensor (n, d_clip) with one row for each of {len(source)} images: {got}"
        )
    if len(source) < 2:
        raise InputError("an alignment needs two images at least")
    if not bool(target.isfinite().all()):
        raise InputError("the target holds NaN or infinity")
    wide = target.detach().double()
    check_varies(float((wide - wide.mean(0)).norm()), float(wide.norm()), target.dtype, "the target's vectors")
