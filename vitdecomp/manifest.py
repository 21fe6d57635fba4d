"""What a folder of extracted contributions holds, as JSON; see `vitdecomp.shards`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from vitdecomp.component import Component
from vitdecomp.errors import OutputError
from vitdecomp.files import PARTIAL, atomic, check_directory, sha256
from vitdecomp.origin import Origin

NAME = "manifest.json"
SCHEMA = 2


@dataclass(frozen=True, slots=True)
class Shard:
    """One finished file.

    Attributes:
        index: its number.
        file: its name.
        sha256: its checksum.
        images: how many rows of the manifest it answers for.
        rows: how many of these it holds.
        skipped: the rows that could not be read.
        error: largest relative error.
    """

    index: int
    file: str
    sha256: str
    images: int
    rows: int
    skipped: tuple[int, ...]
    error: float

    @classmethod
    def of(cls, path: Path, *, index: int, rows: int, skipped: tuple[int, ...], error: float) -> Shard:
        """The entry of a file that was just written."""
        return cls(index, path.name, sha256(path), rows + len(skipped), rows, skipped, error)


@dataclass(frozen=True, slots=True)
class Manifest:
    """Which contributions of which images; all but `done` is settled before the first shard is written.

    Attributes:
        model: the spec.
        weights: checksum of the parameters and buffers.
        preprocessing: a description of it.
        output, by, through, dtype: as for `Decomposer`.
        dimension: length of the representation.
        components: the component axis.
        root: folder of the images, which may move.
        images: their paths in it.
        digests: checksums of their files.
        shard_size: how many go into one shard.
        schema: version of this format.
        done: the finished shards.
    """

    model: str
    weights: str
    preprocessing: str
    output: str
    by: str
    through: tuple[str, ...] | None
    dtype: str
    dimension: int
    components: tuple[Component, ...]
    root: str
    images: tuple[str, ...]
    digests: tuple[str, ...]
    shard_size: int
    schema: int = SCHEMA
    done: tuple[Shard, ...] = ()

    @property
    def origin(self) -> Origin:
        """Where the representations come from."""
        return Origin(self.model, self.weights, self.output)

    def settled(self) -> str:
        """All that is settled from the beginning, but for the place of the images, as JSON."""
        return json.dumps({k: v for k, v in asdict(self).items() if k not in ("root", "done")})

    @property
    def complete(self) -> bool:
        """Whether all shards are done."""
        return len(self.done) == sum(1 for _ in self.planned())

    def planned(self) -> Iterator[tuple[int, range]]:
        """Index and rows of every shard, done or not."""
        n = len(self.images)
        for index, start in enumerate(range(0, n, self.shard_size)):
            yield index, range(start, min(start + self.shard_size, n))

    def with_shard(self, shard: Shard) -> Manifest:
        """The manifest with one more finished shard."""
        return replace(self, done=tuple(sorted((*self.done, shard), key=lambda s: s.index)))

    def verified(self, out: Path) -> Manifest:
        """The manifest with only those shards whose files are as they were written; leftovers are removed."""
        for leftover in out.glob(f"*{PARTIAL}"):
            leftover.unlink()
        whole = [s for s in self.done if (out / s.file).is_file() and sha256(out / s.file) == s.sha256]
        return replace(self, done=tuple(whole))

    def write(self, out: Path) -> None:
        """Write `manifest.json`, whole or not at all."""
        with atomic(out / NAME) as partial:
            partial.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, out: Path) -> Manifest | None:
        """The manifest in a folder, or `None` if the folder is empty or not there.

        Raises:
            OutputError: the folder holds something else.
        """
        check_directory(out)
        path = out / NAME
        if not path.is_file():
            others = [p.name for p in out.iterdir() if not p.name.endswith(PARTIAL)] if out.is_dir() else []
            if others:
                raise OutputError(f"{out} is not empty and has no {NAME}: give a folder of its own for the result")
            return None
        try:
            return _from_json(json.loads(path.read_text(encoding="utf-8")))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise OutputError(f"{path} is not a manifest of vitdecomp (schema {SCHEMA})") from error

    def resumed(self, earlier: Manifest | None) -> Manifest:
        """This manifest with the shards that an earlier run of the same extraction finished.

        Raises:
            OutputError: the earlier run was another extraction; the message says in what they differ.
        """
        if earlier is None:
            return self
        different = [f.name for f in fields(self) if f.name not in ("done", "root") and _differ(self, earlier, f.name)]
        if different:
            raise OutputError(
                f"the output folder holds another extraction ({', '.join(different)} differ): use another"
            )
        return replace(self, done=earlier.done)


def _differ(a: Manifest, b: Manifest, field: str) -> bool:
    return bool(getattr(a, field) != getattr(b, field))


def _from_json(data: dict[str, Any]) -> Manifest:
    if data["schema"] != SCHEMA:
        raise ValueError(data["schema"])
    plain: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    plain["components"] = tuple(Component(**c) for c in data["components"])
    plain["done"] = tuple(Shard(**{**s, "skipped": tuple(s["skipped"])}) for s in data["done"])
    return Manifest(**plain)
