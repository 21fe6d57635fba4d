"""Decomposer: a model and images (or other inputs) in, contributions of named components out."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitdecomp._utils.modes import SERIAL, autocast_around, in_neutral_mode
from vitdecomp._utils.registry import did_you_mean
from vitdecomp._utils.tolerance import TOLERANCE
from vitdecomp.component import Component, Token
from vitdecomp.contributions import Contributions
from vitdecomp.decomposer_file import Portable, Through
from vitdecomp.engine.component_set import ComponentSet
from vitdecomp.engine.decomposition import decompose
from vitdecomp.engine.granularity import By
from vitdecomp.engine.inputs import as_directions, check_images, in_format, input_format
from vitdecomp.engine.products import products
from vitdecomp.engine.subset import Subset
from vitdecomp.engine.views import Views
from vitdecomp.errors import InexactError, InputError, SpecError, TraceError, VitdecompError
from vitdecomp.models.adapter import LoadedModel, as_loaded
from vitdecomp.models.outputs import Output, name_of
from vitdecomp.models.positions import Positions, at_positions
from vitdecomp.provenance import Origin
from vitdecomp.report import Report, make_report
from vitdecomp.trace.cache.search import Search
from vitdecomp.trace.capture import still
from vitdecomp.trace.find import THROUGH
from vitdecomp.trace.passes.optimize import PASSES, check_passes
from vitdecomp.trace.paths import LinearPaths
from vitdecomp.trace.snapshot import Snapshot
from vitdecomp.units.asked import Asked, AskedDirections, asked
from vitdecomp.units.directions import Directions

AROUND = (
    "torch.autocast around the call is not part of the model, which was decomposed without it; "
    "docs/precision.md says how to ask for it"
)
SHOWN = 3  # changes of a model that an error names


class Decomposer(Portable):
    """Splits the representation of a vision transformer into an exact sum over its components.

    What is called images may be any input that the model takes as a tensor `(n, ...)`: videos, spectrograms, volumes.

    Args:
        model: an `nn.Module`, a `LoadedModel`, or a spec such as `timm:vit_base_patch16_224`.
        by: the components: `"head"`, `"module"`, `"block"`, `"token"`, `("head", "token")`, `"neuron"`, or
            `"representation"`, all of it as one. Or units finer than heads: `"principal"`, along which the
            contributions to the images of `fit` vary most (give it some hundreds); `"singular"`, along which a
            component's map can write most; `"principal:8"` for eight directions of each; or `Directions`.
        output: which vector of the model: `"embedding"` or another that its adapter offers; the path of a module
            inside, such as `"blocks.8"`; the key, attribute or index of a part of what a module of your own returns; or
            a function `(module, images) -> (n, d)`. Several names with `+` are one vector behind the other.
        positions: of an output that is tokens or a map, which of them: numbers, places such as `(2, 3)`, `"mean"` or
            `"patches"`. Several are one behind the other: `values.unflatten(-1, (position, d))` tells them apart.
        through: `"auto"` opens the fewest gates with which every block is reached that has a linear way: on the
            trunk, and activations in branches; `"none"` opens none; `"all"` opens all down to the image, as the
            frozen map of `vd.explain`. A collection of module paths also walks through those attentions, with their
            pattern frozen (higher orders).
        tolerance: largest relative error of the sum; by default that of the dtype (`vitdecomp.TOLERANCE`).
        cache: folder where what was found about a model's structure is kept, for other weights of it and the next
            process; `"auto"` for the cache directory (`VITDECOMP_CACHE`), `None` to keep nothing.
        passes: what is done to have less to compute, of `vitdecomp.trace.passes.optimize.PASSES`; the numbers are the
            same without any.

    Attributes:
        loaded_: the model with what its library knows of it: preprocessing, texts, classes.
        components_: the components, in the order of the contributions' axis.
        directions_: of the components, where they are split into units.
        report_: exactness, coverage, gates opened, operations, and the graph of linear paths.
        origin_: the model, by the checksum of its weights.

    References:
        RepDecompose, arXiv 2406.01583; docs/mathematics.md.
    """

    loaded_: LoadedModel
    components_: tuple[Component, ...]
    directions_: Directions | None
    report_: Report
    origin_: Origin

    def __init__(
        self,
        model: nn.Module | LoadedModel | str,
        *,
        by: Asked | str = "head",
        output: Output = "embedding",
        positions: Positions | None = None,
        through: Through = "auto",
        tolerance: float | None = None,
        cache: Path | Literal["auto"] | None = "auto",
        passes: Collection[str] = PASSES,
    ) -> None:
        self.model, self.through = model, through
        self.output: Output = output if positions is None else at_positions(output, positions)
        self.by: Asked = asked(by)
        self.tolerance, self.cache, self.passes = tolerance, cache, passes
        check_passes(passes)

    def __repr__(self) -> str:
        fitted = f"{len(self.components_):,} components" if hasattr(self, "_views") else "not fitted yet"
        model = getattr(self.model, "spec", self.model if isinstance(self.model, str) else type(self.model).__name__)
        return f"Decomposer: {name_of(self.output)} of {model} by {self.by}, {fitted}"

    def fit(self, images: Float[Tensor, "n *image"]) -> Decomposer:
        """Trace the model on one or more images and find its linear paths. The model is left as it was.

        Raises:
            InputError: images that the model cannot take, or a model that does not return a vector per image.
            TraceError: the model's graph cannot be captured.
            NoRuleError: an operation on a linear path that no rule knows.
            CoverageError: nothing that depends on the input reaches the representation.
            InexactError: the sum misses the representation.
        """
        self._fit(images)
        if isinstance(self.by, AskedDirections):
            self._split(self.by.fit(self, images))
        if autocast_around():
            self.report_ = replace(self.report_, notes=(*self.report_.notes, AROUND))
        return self

    @in_neutral_mode
    def _fit(self, images: Tensor) -> None:
        began = time.perf_counter()
        if isinstance(self.through, str) and self.through not in THROUGH:
            ways = ", ".join(map(repr, THROUGH))
            raise SpecError(f"through={self.through!r}: give one of {ways}, or a collection of module paths")
        through = self._through
        with SERIAL:
            loaded = as_loaded(self.model)
            module = loaded.representation(self.output)
            images = check_images(images, module, None)
            given, images = images.dtype, in_format(images, input_format(module, images))
            search = Search.of(module, images, through, self._cache(), self.passes)
            known = search.known(images)
            if known is not None:
                with suppress(VitdecompError):  # a damaged file: the paths are found anew
                    self._adopt(loaded, search, images, known, began)
                    self._formats = (given, images.dtype)
                    return
            self._adopt(loaded, search, images, search.find(images, through), began)
            self._formats = (given, images.dtype)

    def _adopt(
        self,
        loaded: LoadedModel,
        search: Search,
        images: Tensor,
        paths: LinearPaths,
        began: float,
    ) -> None:
        """Take linear paths, if their sum is exact."""
        self.origin_ = Origin.of(loaded.module, loaded.spec, name_of(self.output))
        self.loaded_, self._image, self._views = loaded, images[:1].clone(), Views(search, paths)
        self._formats = (images.dtype, images.dtype)  # of images that `transform` takes
        self.components_, self.directions_ = self._views.of(self._granularity)[1].components, None
        if isinstance(self.by, Directions):
            self._split(self.by)
        sample = self._decompose(images, "head")
        self.report_ = make_report(loaded, name_of(self.output), paths, sample, time.perf_counter() - began)
        self._snapshot = Snapshot.of(search.module, paths.captured)

    @in_neutral_mode
    def transform(self, images: Float[Tensor, "n *image"], by: Asked | str | None = None) -> Contributions:
        """Contributions of all components to the representation of each image.

        Args:
            images: n images.
            by: as in the constructor, whose value is the default.

        Returns:
            `values` of shape `(n, component, d)` in the model's dtype, and the relative `error` per image.

        Raises:
            InputError: images unlike those of `fit`, or contributions that are larger than the memory that is free.
            InexactError: the sum misses the representation by more than the tolerance; the message says where.
            SpecError: units that `fit` has not found.
        """
        images, chosen = self.checked(images), self._asked(by)
        if isinstance(chosen, Directions):
            return chosen.transform(self._decompose(images, "head"))
        return self._decompose(images, chosen)

    def fit_transform(self, images: Float[Tensor, "n *image"]) -> Contributions:
        """`fit`, then `transform`, on the same images."""
        return self.fit(images).transform(images)

    @in_neutral_mode
    def represent(self, images: Float[Tensor, "n *image"]) -> Float[Tensor, "n d"]:
        """Compute the representation itself, from the captured graph."""
        images = self.checked(images)
        recorder = self.views.recorder(())  # which records nothing
        return torch.cat([recorder(chunk)[0] for chunk in recorder.portions(images)])[: len(images)]

    def attribute(
        self, images: Float[Tensor, "n *image"], directions: Tensor, by: Asked | str | None = None
    ) -> Float[Tensor, "n direction *axes"]:
        """<direction, contribution> of every component: one backward sweep a direction, without the contributions.

        For more than a few directions, and components without an axis of their own, the contributions are cheaper:
        units are computed from these.

        Args:
            images: n images.
            directions: vectors in the representation's space, `(direction, d)`, or per image `(n, direction, d)`.
            by: as in the constructor, whose value is the default.

        Returns:
            `"head"`, `"module"`, `"block"`, `"representation"`, units: `(n, direction, component)`, for
            `components_of(by)`.
            `"token"`, `("head", "token")`, `"neuron"`: `(n, direction, component, token or neuron)`; the
            components are those that have such an axis, shorter ones are filled up with zeros.

        Raises:
            InputError: images unlike those of `fit`, or directions of another size.
        """
        return self.attribute_each(images, directions, [self.by if by is None else by])[0]

    @in_neutral_mode
    def attribute_each(
        self, images: Float[Tensor, "n *image"], directions: Tensor, bys: Sequence[Asked | str]
    ) -> list[Float[Tensor, "n direction *axes"]]:
        """`attribute` at several granularities, with one run of the model for all of them.

        Args:
            images: n images.
            directions: as for `attribute`.
            bys: granularities, such as `["head", "token", "neuron"]`.

        Returns:
            For each of them what `attribute` returns.

        Raises:
            InputError: images unlike those of `fit`, or directions of another size.
        """
        images, chosen = self.checked(images), [self._asked(by) for by in bys]
        whole = cast("list[By]", [by for by in chosen if not isinstance(by, Directions)])
        swept = iter(self._sweep(images, directions, whole))
        return [self._units(images, directions, by) if isinstance(by, Directions) else next(swept) for by in chosen]

    def _sweep(self, images: Tensor, directions: Tensor, bys: Sequence[By]) -> list[Tensor]:
        """Multiply components by directions in a backward sweep."""
        views = [self.views.of(by) for by in bys]
        recorder = self.views.recorder(gate for paths, _ in views for gate in paths.recorder.gates)
        results: list[list[Tensor]] = [[] for _ in views]
        done = 0
        for chunk in recorder.portions(images):
            representation, recorded = recorder(chunk)
            q = as_directions(directions, (len(chunk), representation.shape[1]), done, len(images)).to(representation)
            done += len(chunk)
            with torch.no_grad():
                for found, (paths, component_set) in zip(results, views, strict=True):
                    found.append(products(paths, component_set, recorded, q))
            del recorded  # room for the next
        return [torch.cat(found)[: len(images)] for found in results]

    def _units(self, images: Tensor, directions: Tensor, units: Directions) -> Tensor:
        """Multiply units by directions, from the contributions of their components."""
        c = self._decompose(images, "head")
        q = as_directions(directions, (len(c), c.dimension), 0, len(c)).to(c.values)
        return units.products(c, q.transpose(0, 1))

    @in_neutral_mode
    def components_of(self, by: Asked | str) -> tuple[Component, ...]:
        """Return the components along the third axis of `attribute(..., by=by)`."""
        chosen = self._asked(by)
        if isinstance(chosen, Directions):
            return tuple(unit.component for unit in chosen.units)
        return self.views.of(chosen)[1].rows

    @property
    def tokens_(self) -> tuple[Token, ...]:
        """What each index of the token axis is: a class or register token, or a patch and its place.

        The axis is the same for all components, in `attribute` and as `Component.token` in `transform`: class and
        register tokens first, in the model's own order, then the patches of each grid row by row (of videos frame by
        frame), the finest grid first; behind them what windows are padded with, and vectors without a place in the
        input. So what several components have at one index may be added up.
        """
        return self.views.of("token")[0].axis.tokens

    @in_neutral_mode
    def subset(self, components: Collection[Component]) -> Subset:
        """Build a module that computes the representation and the contributions of some components, and no others.

        It has copies of the weights; the model stays as it is.

        Raises:
            SpecError: no such component, units, or not fitted yet.
        """
        return Subset(*self.chosen(components), components)

    def chosen(self, components: Collection[Component]) -> tuple[LinearPaths, ComponentSet]:
        """Return the paths to some components, and all components.

        Raises:
            SpecError: no such component, units, or not fitted yet. TraceError: the model has changed since.
        """
        if self.directions_ is not None:
            raise SpecError('units are parts of components: choose these, with Decomposer(..., by="head")')
        paths, component_set = self.views.of(self._granularity)
        self._keep_up()
        unknown = [c.name for c in components if c not in component_set.components]
        if unknown:
            raise SpecError(
                f"no component {unknown[0]!r}{did_you_mean(unknown[0], [c.name for c in component_set.components])}"
            )
        return paths, component_set

    def _decompose(self, images: Tensor, by: By) -> Contributions:
        paths, component_set = self.views.of(by)
        try:
            values, errors = decompose(paths, component_set, images, self.allowed_error, self.views.ahead(by))
        except InexactError:  # weights may have changed in a way that nothing tells, through `.data`
            self.views.forget()
            values, errors = decompose(paths, component_set, images, self.allowed_error, self.views.ahead(by))
        return Contributions(values, component_set.components, errors, component_set.bias_receivers, self.origin_)

    def _split(self, directions: Directions) -> None:
        """Split components into units from now on."""
        directions.check(self.components_)
        self.components_ = tuple(unit.component for unit in directions.units)
        self.directions_ = directions

    def _asked(self, by: Asked | str | None) -> By | Directions:
        """Return what to split by, for once or as `fit` found it.

        Raises:
            SpecError: units that `fit` has not found.
        """
        chosen = self.by if by is None else asked(by)
        if isinstance(chosen, AskedDirections):
            found: Directions | None = getattr(self, "directions_", None) if chosen == self.by else None
            if found is None:
                raise SpecError(f"`fit` finds directions, of Decomposer(..., by={str(chosen)!r})")
            return found
        return chosen

    @property
    def allowed_error(self) -> float:
        """The largest relative error of a sum that is taken for exact."""
        return TOLERANCE[self.views.paths.coarsest] if self.tolerance is None else self.tolerance

    def checked(self, images: Tensor) -> Tensor:
        """Bring images to the number format that the model takes, once it is sure that the model is that of `fit`.

        Raises:
            SpecError: not fitted yet. InputError: images unlike those of `fit`. TraceError: the model has changed.
        """
        images = check_images(images, self.views.search.module, tuple(self._image.shape[1:]))
        self._keep_up()
        if images.dtype not in self._formats:
            raise InputError(
                f"inputs are {images.dtype} on {images.device}, the model is {self._image.dtype} and was fitted on "
                f"{self._formats[0]}: convert with images.to({self._formats[0]})"
            )
        return in_format(images, self._image.dtype)

    def _keep_up(self) -> None:
        """Go on with a model that was changed, if its graph and its paths are the same: weights are shared with it."""
        changes = self._snapshot.changes()
        if not changes:
            return
        self._views.forget()
        with SERIAL:
            try:
                same = still(self._views.search.module, self._views.captured)
                sample = self._decompose(self._image, self._granularity) if same else None
            except InexactError:
                sample = None
            if sample is None:
                more = f" and {len(changes) - SHOWN} more" if len(changes) > SHOWN else ""
                raise TraceError(
                    f"the model has changed since fit ({'; '.join(changes[:SHOWN])}{more}): call fit again"
                )
            self.origin_ = Origin.of(self.loaded_.module, self.loaded_.spec, name_of(self.output))
            self._snapshot = Snapshot.of(self._views.search.module, self._views.captured)
