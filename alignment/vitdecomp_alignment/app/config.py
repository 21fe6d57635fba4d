"""What the explorer is told to look into."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from vitdecomp.errors import SpecError
from vitdecomp.models.adapter import is_defined
from vitdecomp.models.image_loader import Loading
from vitdecomp.models.prepare import ModelOptions
from vitdecomp.store.store import Store
from vitdecomp_alignment.clip.contributions import Reading

logger = logging.getLogger(__name__)

WORLD = "scenes:clip"  # what is looked into where nothing is named


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """Say what to look into.

    Attributes:
        model: the options of a model by its spec. spec: the model, if one is named.
        reading: which contributions. features: as for `feature_words.read_features`.
        folders: where the images of a store may be taken from.
        labelled: images with classes and groups, for the removal of a cue; scenes by default.
        cache: folder for what can be computed again. loading: how images are read.
    """

    model: Callable[[str], ModelOptions]
    spec: str | None
    reading: Reading
    features: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()
    labelled: Path | None = None
    cache: Path | None = None
    loading: Loading = field(default_factory=Loading)

    def options(self) -> ModelOptions:
        """Return the options of the model; that of a store is loaded by its name alone if a library defines it.

        Raises:
            SpecError: none is named, and a store claims one that is not a library's own.
            InputError: there is no store.
        """
        if self.spec is not None:
            return self.model(self.spec)
        if self.reading.store is None:
            return self.model(WORLD)
        claim = Store(self.reading.store).origin.model
        if not is_defined(claim):
            raise SpecError(
                f"{self.reading.store} says that it is of {claim}, and what a file names is not loaded: "
                "give MODEL yourself if you trust it"
            )
        logger.warning("the model is %s, as %s says (MODEL for another)", claim, self.reading.store)
        return self.model(claim)
