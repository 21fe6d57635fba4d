"""Maps out of a file, and the CLIP that they lead to: the one that the user named, since a file may be a stranger's."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from shlex import quote  # a claim may be made to be pasted into a shell

from vitdecomp.errors import InputError, SpecError
from vitdecomp.models.adapter import is_defined
from vitdecomp.provenance import Origin
from vitdecomp.sources.aligner import aligners
from vitdecomp_alignment.aligners import maps_file
from vitdecomp_alignment.aligners.linear import LinearAligner
from vitdecomp_alignment.aligners.maps_folder import find_maps
from vitdecomp_alignment.clip.space import ClipSpace

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MapsToClip:
    """Maps, and whose texts are used with them.

    Attributes:
        aligner: the maps. clip: the spec of a model that the user trusts.
    """

    aligner: LinearAligner
    clip: str

    @classmethod
    def read(cls, path: Path, *, clip: str | None, model: str) -> MapsToClip:
        """Read maps; nothing is loaded that they name, unless a library defines a model of that name.

        Args:
            path: as for `load_aligner`.
            clip: the CLIP that the user named.
            model: the model that the user named, which is trusted too.

        Raises:
            InputError: there is no such file, or not of maps.
            SpecError: the user named no CLIP, and the file none that can be taken; or several maps may be meant.
            LoadError: the hub does not answer, and its cache does not have them.
        """
        aligner = load_aligner(path, model)
        return cls(aligner, _claimed(aligner, path, model) if clip is None else clip)

    def space(self, *, device: str, cache: Path) -> ClipSpace:
        """Load the space that the maps lead to.

        Raises:
            InputError: they lead to another model, or to other weights of it.
            SpecError, LoadError: there is no such model, or its weights cannot be had.
        """
        space, target = ClipSpace(self.clip, device=device, cache=cache), self.aligner.target_
        if target is not None:
            target.check(Origin.of(space.reader.module, space.spec, target.output), "the maps lead to")
        return space


def load_aligner(place: Path | str, model: str | None = None) -> LinearAligner:
    """Read maps, of whatever kind.

    Args:
        place: a file; a folder with maps, or with folders of maps; `hf:ORGANIZATION/NAME` or `hf:auto`.
        model: its spec, by which one of several maps is chosen.

    Raises:
        InputError: there are none, or of a kind that nobody knows.
        SpecError: several maps may be meant.
        LoadError: the hub does not answer, and its cache does not have them.
    """
    path = find_maps(place, model)
    name = maps_file.read(path).aligner
    known = aligners()
    for kind in (known[key] for key in known):
        if kind.__name__ == name and issubclass(kind, LinearAligner):
            loaded: LinearAligner = kind.load(path)
            return loaded
    raise InputError(f"{path} holds a {name}, which no installed package provides")


def _claimed(aligner: LinearAligner, path: Path, model: str) -> str:
    """Return the CLIP that a file claims; any spec but a library's own may import a module or fetch a repository."""
    if aligner.target_ is None:
        raise SpecError(f"{path} does not say which CLIP the maps lead to: give --clip")
    claim = aligner.target_.model
    if claim != model and not is_defined(claim):
        raise SpecError(
            f"{path} says that its maps lead to {claim}, and what a file names is not loaded: "
            f"give --clip {quote(claim)} yourself if you trust it"
        )
    logger.warning("texts are read by %s, as %s says (--clip SPEC for another)", claim, path)
    return claim
