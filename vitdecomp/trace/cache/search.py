"""A model's linear paths: those of an earlier trace, or else found now and kept."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass

from torch import Tensor, nn

from vitdecomp.trace.cache.cache import PathsCache
from vitdecomp.trace.cache.structure import fingerprint
from vitdecomp.trace.capture import capture
from vitdecomp.trace.paths import LinearPaths, find_paths

TOKENS = "-tokens"


@dataclass(frozen=True, slots=True)
class Search:
    """A search for the linear paths of one module.

    Attributes:
        module: the module. cache: where paths are kept, if anywhere. key: of the module's structure there.
    """

    module: nn.Module
    cache: PathsCache | None
    key: str

    @classmethod
    def of(cls, module: nn.Module, images: Tensor, through: Collection[str] | None, cache: PathsCache | None) -> Search:
        """With rules of the user's own nothing is kept: a file cannot tell what they do."""
        key = None
        with suppress(Exception):  # a module that cannot be told by what it says of itself is traced anew
            key = None if cache is None else fingerprint(module, images, through)
        return cls(module, None, "") if key is None else cls(module, cache, key)

    def candidates(self, images: Tensor, through: Collection[str] | None) -> Iterator[tuple[LinearPaths, bool]]:
        """Known paths if there are any, then those that are found now; and whether they are the last.

        Raises:
            As `capture` and `find_paths` do.
        """
        known = None if self.cache is None else self.cache.find(self.key, self.module, images)
        if known is not None:
            yield known, False
        paths = find_paths(capture(self.module, images), through)
        if self.cache is not None:
            self.cache.keep(self.key, self.module, paths)
        yield paths, True

    def by_token(self, paths: LinearPaths) -> LinearPaths:
        """The same paths with attention split by the token that is attended to."""
        if self.cache is None:
            return paths.by_token()
        found = self.cache.find_in(self.key + TOKENS, self.module, paths.captured)
        if found is None:
            found = paths.by_token()
            self.cache.keep(self.key + TOKENS, self.module, found)
        return found
