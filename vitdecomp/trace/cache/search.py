"""A model's linear paths: those of an earlier trace, or else found now and kept."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType

from torch import Tensor, nn

from vitdecomp.trace.cache.cache import PathsCache
from vitdecomp.trace.cache.structure import fingerprint
from vitdecomp.trace.capture import capture
from vitdecomp.trace.find import find_paths, split_by_token
from vitdecomp.trace.passes.optimize import PASSES, optimize
from vitdecomp.trace.paths import LinearPaths
from vitdecomp.trace.rule import load_rules

Passes = Collection[str]
PARTS, TOKENS, NEURONS = "parts", "tokens", "neurons"
VIEWS: Mapping[str, Callable[[LinearPaths, Passes], LinearPaths]] = MappingProxyType(
    {
        PARTS: lambda paths, passes: optimize(paths, passes=passes),
        TOKENS: lambda paths, passes: optimize(split_by_token(paths, passes), passes=passes),
        NEURONS: lambda paths, passes: optimize(paths, channels=True, passes=passes),
    }
)
"""How the paths to run are made of those that were found, by what is told apart."""


@dataclass(frozen=True, slots=True)
class Search:
    """A search for the linear paths of one module.

    Attributes:
        module: the module. cache: where paths are kept, if anywhere. key: of the module's structure there.
        passes: what may be done to have less to compute.
    """

    module: nn.Module
    cache: PathsCache | None
    key: str
    passes: tuple[str, ...] = PASSES

    @classmethod
    def of(
        cls,
        module: nn.Module,
        images: Tensor,
        through: Collection[str] | None,
        cache: PathsCache | None,
        passes: Passes = PASSES,
    ) -> Search:
        """Search under the name of the module's structure; without a cache where the structure cannot be named.

        All rules, those of installed plugins included, are part of the name: nothing is traced or looked up before.
        """
        load_rules()
        key, wanted = None, tuple(name for name in PASSES if name in passes)
        with suppress(Exception):  # a module that cannot be told by what it says of itself is traced anew
            key = None if cache is None else fingerprint(module, images, through)
        if key is None:
            return cls(module, None, "", wanted)
        return cls(module, cache, "-".join([key, *(name for name in PASSES if name not in wanted)]), wanted)

    def known(self, images: Tensor) -> LinearPaths | None:
        """Return the paths of an earlier trace, if there are any."""
        return None if self.cache is None else self.cache.find(self.key, self.module, images)

    def find(self, images: Tensor, through: Collection[str] | None) -> LinearPaths:
        """Trace the module; what was made of paths that are known is made anew.

        Raises:
            As `capture` and `find_paths` do.
        """
        paths = find_paths(capture(self.module, images), through, self.passes)
        if self.cache is not None:
            self.cache.keep(self.key, self.module, paths)
            self.cache.forget(f"{self.key}-{name}" for name in VIEWS)
        return paths

    def view(self, name: str, paths: LinearPaths) -> LinearPaths:
        """Return the paths to run: `parts`, or with `tokens` or `neurons` told apart."""
        if self.cache is None:
            return VIEWS[name](paths, self.passes)
        found = self.cache.find_in(f"{self.key}-{name}", self.module, paths.captured)
        if found is None:
            found = VIEWS[name](paths, self.passes)
            self.cache.keep(f"{self.key}-{name}", self.module, found)
        return found
