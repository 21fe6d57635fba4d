"""A fitted decomposer as a file: what was found about a model, and the checksum of its weights, but no weights."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

from torch import Tensor, nn

from vitdecomp._utils.modes import SERIAL, neutral
from vitdecomp._utils.schema import Versioned
from vitdecomp._utils.tensor_file import TensorFormat
from vitdecomp.component import Component
from vitdecomp.engine.granularity import By
from vitdecomp.engine.views import Views
from vitdecomp.errors import InputError, SpecError, TraceError
from vitdecomp.models.adapter import LoadedModel, as_loaded
from vitdecomp.models.outputs import Output, name_of
from vitdecomp.provenance import Origin
from vitdecomp.trace.cache.cache import PathsCache
from vitdecomp.trace.cache.named import UnnamedError
from vitdecomp.trace.cache.plain import Plain, found_again, plain
from vitdecomp.trace.cache.sample import Sample
from vitdecomp.trace.cache.search import Search
from vitdecomp.trace.find import AUTO
from vitdecomp.trace.paths import LinearPaths
from vitdecomp.units.asked import Asked, AskedDirections, asked
from vitdecomp.units.directions import Directions
from vitdecomp.units.directions_file import COUNTS, as_tensors, from_tensors

Through: TypeAlias = "Literal['none', 'auto', 'all'] | Collection[str]"
Self = TypeVar("Self", bound="Portable")
SCHEMA = 2
GIVEN = "directions"  # what a decomposer splits by that was given directions


@dataclass(frozen=True, slots=True)
class DecomposerHeader(Versioned):
    """What a file says.

    Attributes:
        by, output, through, tolerance: as for `Decomposer`; directions stand among the tensors.
        own_output: whether `output` names a function.
        model, weights: the spec, a claim, and the checksum.
        sample: of the images. paths: the linear paths.
    """

    by: tuple[str, ...]
    output: str
    own_output: bool
    through: tuple[str, ...] | None
    tolerance: float | None
    model: str
    weights: str
    sample: Sample
    paths: Plain


DECOMPOSER = TensorFormat(
    "vitdecomp.decomposer", "fitted decomposer", DecomposerHeader, (SCHEMA,), "fit the model again, and save that"
)


class Portable(ABC):
    """What a decomposer needs to be written, read and copied."""

    model: nn.Module | LoadedModel | str
    by: Asked
    output: Output
    through: Through
    tolerance: float | None
    cache: Path | Literal["auto"] | None
    passes: Collection[str]
    directions_: Directions | None
    origin_: Origin
    loaded_: LoadedModel
    _views: Views
    _image: Tensor  # one of those of `fit`

    @abstractmethod
    def fit(self: Self, images: Tensor) -> Self:
        """Trace the model."""

    @abstractmethod
    def _adopt(
        self,
        loaded: LoadedModel,
        search: Search,
        images: Tensor,
        paths: LinearPaths,
        began: float,
    ) -> None:
        """Take linear paths, if their sum is exact."""

    @abstractmethod
    def components_of(self, by: By) -> tuple[Component, ...]:
        """Return the components at a granularity."""

    @abstractmethod
    def _split(self, directions: Directions) -> None:
        """Split components into units from now on."""

    def save(self, path: Path | str) -> None:
        """Write what was found about the model into a safetensors file, without its weights; `load` needs the model.

        Raises:
            SpecError: not fitted yet, or paths that cannot stand in a file, as with rules of your own.
            OutputError: it cannot be written.
        """
        kept, tables = self._plain()
        units = {} if self.directions_ is None else as_tensors(self.directions_)
        header = DecomposerHeader(
            schema=SCHEMA,
            by=_named(self.by),
            output=name_of(self.output),
            own_output=callable(self.output),
            through=self._through,
            tolerance=self.tolerance,
            model=self.origin_.model,
            weights=self.origin_.weights,
            sample=Sample.of(self._image),
            paths=kept,
        )
        DECOMPOSER.write(Path(path), header, {**tables, **units})

    @classmethod
    def load(
        cls: type[Self], path: Path | str, model: nn.Module | LoadedModel | str, *, output: Output | None = None
    ) -> Self:
        """Read a fitted decomposer, with the model that it was fitted to and without tracing that again.

        Args:
            path: what `save` wrote.
            model: the model; a file never says what is loaded.
            output: the function, if `output` was one.

        Raises:
            InputError: no such file, a damaged one, or one of another model or other weights.
            SpecError: the output was a function, and none is given.
        """
        file = DECOMPOSER.read(Path(path))
        header = file.header
        if header.own_output and not callable(output):
            raise SpecError(f"{path} was made with a function as output ({header.output}): give it as output=")
        loaded, chosen = as_loaded(model), header.output if output is None else output
        saved = Origin(header.model, header.weights, header.output)
        saved.check(Origin.of(loaded.module, loaded.spec, name_of(chosen)), f"{path} was fitted to")
        new: Any = cls
        made: Self = new(
            model,
            by="head" if COUNTS in file.tensors else header.by[0] if len(header.by) == 1 else header.by,
            output=chosen,
            through="auto" if header.through is None else header.through,
            tolerance=header.tolerance,
        )
        device = next((p.device for p in loaded.module.parameters()), None)
        # Names that nothing has any more, and directions of other components.
        with suppress(UnnamedError, LookupError, TypeError, AttributeError, ValueError):
            made._revive(loaded, header.paths, file.tensors, header.sample.images(1).to(device))
            if COUNTS in file.tensors:
                found = from_tensors(made.components_of("head"), file.tensors)
                made._split(found)
                made.by = found if header.by == (GIVEN,) else asked(header.by[0])
            return made
        raise InputError(f"{path} is of another version of vitdecomp or torch: fit the model again, and save that")

    def __deepcopy__(self: Self, memo: dict[int, Any]) -> Self:
        """Copy the decomposer and the model."""
        fitted, loaded = hasattr(self, "_views"), None
        model: Any = deepcopy(self.model, memo) if isinstance(self.model, nn.Module) else self.model
        if fitted:
            loaded = replace(self.loaded_, module=deepcopy(self.loaded_.module, memo))
            model = model if isinstance(model, nn.Module) else loaded
        new: Any = type(self)
        made: Self = new(
            model,
            by=self._granularity if fitted else self.by,
            output=self.output,
            through=self.through,
            tolerance=self.tolerance,
            cache=self.cache,
            passes=self.passes,
        )
        memo[id(self)] = made
        if loaded is not None:
            try:
                made._revive(loaded, *self._plain(), self._image)
            except SpecError:  # what cannot stand in a file is found anew
                made.fit(self._image)
            if self.directions_ is not None:
                made._split(self.directions_)
            made.by = self.by
        return made

    @property
    def views(self) -> Views:
        """The linear paths at every granularity.

        Raises:
            SpecError: not fitted yet.
        """
        if not hasattr(self, "_views"):
            raise SpecError("this Decomposer is not fitted yet: call fit(images) first")
        return self._views

    @property
    def _granularity(self) -> By:
        """Return what the graph is split by: units are parts of heads."""
        return "head" if isinstance(self.by, AskedDirections | Directions) else self.by

    @property
    def _through(self) -> tuple[str, ...] | None:
        """The attentions to walk through, or one word for all; `None` for `"auto"`."""
        chosen = (self.through,) if isinstance(self.through, str) else tuple(self.through)
        return None if chosen == (AUTO,) else chosen

    def _cache(self) -> PathsCache | None:
        if self.cache is None:
            return None
        return PathsCache.standard() if self.cache == "auto" else PathsCache(Path(self.cache))

    def _plain(self) -> tuple[Plain, dict[str, Tensor]]:
        """Return the paths without weights."""
        views = self.views
        try:
            return plain(views.paths, views.search.module)
        except UnnamedError as error:
            raise SpecError(f"this Decomposer cannot be saved ({error}): fit it again where it is needed") from error

    def _revive(self, loaded: LoadedModel, kept: Plain, tables: Mapping[str, Tensor], images: Tensor) -> None:
        """Take paths that were found before; raises `TraceError` if the model computes something else."""
        began = time.perf_counter()
        module = loaded.representation(self.output)
        with SERIAL, neutral(images):
            paths = found_again(kept, tables, module, images)
            if paths is None:
                raise TraceError("the model is not the one that was fitted: call fit again")
            search = Search.of(module, images, self._through, self._cache(), self.passes)
            self._adopt(loaded, search, images, paths, began)


def _named(by: Asked) -> tuple[str, ...]:
    """Name what a decomposer splits by."""
    if isinstance(by, Directions):
        return (GIVEN,)
    return by if isinstance(by, tuple) else (str(by),)
