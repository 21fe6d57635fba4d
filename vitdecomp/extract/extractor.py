"""A model and the pictures that it takes apart, some at a time."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from vitdecomp._utils.checksum import digest
from vitdecomp.contributions import Contributions
from vitdecomp.datasets import Pictures
from vitdecomp.errors import InputError, OutputError
from vitdecomp.extract.config import ExtractConfig
from vitdecomp.extract.splitting import metadata_of, splitting
from vitdecomp.models.image_loader import Loaded, Loading, digests, load, load_all, name
from vitdecomp.models.prepare import PreparedModel
from vitdecomp.store.rows import Chunk
from vitdecomp.store.writer import StoreWriter


class Extractor:
    """What a job does to its images.

    Attributes:
        wanted: places of the images in the data set.
        metadata: of the store.

    Raises:
        InputError: no image can be read.
    """

    def __init__(self, prepared: PreparedModel, config: ExtractConfig, pictures: Pictures, loading: Loading) -> None:
        self.prepared, self.config, self.pictures, self.loading = prepared, config, pictures, loading
        self.wanted = range(len(pictures.pictures[: config.limit]))
        self.split, first = splitting(prepared, config, self._first_readable())
        self._digests: dict[int, str] = {}
        self.metadata = metadata_of(prepared, config, first)

    def key(self) -> str:
        """Compute a checksum of all that decides the result."""
        known = (self.pictures.pictures[i] for i in self.wanted)
        names = [(picture.id, picture.label, sorted(picture.groups.items())) for picture in known]
        self._digests = dict(zip(self.wanted, digests(self.pictures, self.wanted), strict=True))
        told = [version("vitdecomp"), self.metadata.to_json(), names, list(self._digests.values())]
        return digest([json.dumps(told)])[:32]

    def id(self, index: int) -> str:
        """Return the name of an image."""
        return self.pictures.pictures[index].id

    def chunks(self, known: Collection[str], old: Collection[str]) -> Iterator[list[int]]:
        """Images that are not known, cut where a run that nobody interrupts cuts them.

        Args:
            known: names of the images that are there.
            old: of those that were there when the run began.
        """
        plan = [i for i in self.wanted if self.id(i) not in old]
        for start in range(0, len(plan), self.config.chunk_size):
            missing = [i for i in plan[start : start + self.config.chunk_size] if self.id(i) not in known]
            if missing:
                yield missing

    def chunk(self, indices: Sequence[int]) -> tuple[Chunk | None, list[int]]:
        """Decompose some images, if any can be read, and name those that cannot.

        Raises:
            InputError: one cannot be read, and none may be left out.
        """
        read: list[Loaded] = []
        parts: list[Contributions] = []
        skipped: list[int] = []
        loaded = map(self._named, load_all(self.pictures, indices, self.prepared.preprocess, self.loading))
        while batch := list(islice(loaded, self.loading.batch_size)):
            good = [one for one in batch if isinstance(one.pixels, Tensor)]
            skipped += self._refuse_unreadable(batch)
            if good:
                pixels = torch.stack([one.pixels for one in good if isinstance(one.pixels, Tensor)])
                parts.append(self.split(pixels.to(self.prepared.device, self.prepared.dtype)))
                read += [replace(one, pixels="") for one in good]
        return self._chunk(read, parts) if read else None, skipped

    def check_known(self, writer: StoreWriter, known: Mapping[str, tuple[str, str]]) -> None:
        """Refuse another picture under a name that is there already, and note where the pictures are now.

        Args:
            writer: of the store.
            known: digests and paths of what is there, by name.

        Raises:
            OutputError: there is one.
        """
        there = [i for i in self.wanted if self.id(i) in known]
        found = self._digests or dict(zip(there, digests(self.pictures, there), strict=True))
        for index in there:
            if found[index] not in ("", known[self.id(index)][0]):  # one that is gone has been seen
                raise OutputError(
                    f"{writer.uri} holds another image under {self.id(index)} than {name(self.pictures, index)}: "
                    "use another store"
                )
        for index in there[:1]:
            path, end = known[self.id(index)][1], f"/{self.id(index)}"
            if path.endswith(end):  # not one that a table names by its absolute path
                writer.moved(path.removesuffix(end), str(self.pictures.root))

    def _chunk(self, read: Sequence[Loaded], parts: Sequence[Contributions]) -> Chunk:
        return Chunk(
            pictures=[self.pictures.pictures[one.index] for one in read],
            paths=[name(self.pictures, one.index) for one in read],
            digests=[one.digest for one in read],
            values=torch.cat([part.values.cpu() for part in parts]),
            error=torch.cat([part.error.cpu() for part in parts]),
        )

    def _named(self, one: Loaded) -> Loaded:
        """Return the same, or why it cannot be written: text in a store is UTF-8, and not all names of files are."""
        picture, path = self.pictures.pictures[one.index], name(self.pictures, one.index)
        try:
            "".join([path, picture.id, picture.label or "", *picture.groups, *picture.groups.values()]).encode()
        except UnicodeEncodeError:
            return replace(one, pixels=f"cannot write {path} to a store: its name is not UTF-8; rename it")
        return one

    def _refuse_unreadable(self, batch: Sequence[Loaded]) -> list[int]:
        bad = [one for one in batch if isinstance(one.pixels, str)]
        if bad and not self.loading.skip_unreadable:
            raise InputError(f"{bad[0].pixels} (--skip-unreadable leaves such files out)")
        return [one.index for one in bad]

    def _first_readable(self) -> Any:
        why = ""
        for index in self.wanted:
            found = self._named(load(self.pictures, index, self.prepared.preprocess))
            if isinstance(found.pixels, Tensor):
                return found.pixels
            self._refuse_unreadable([found])
            why = why or found.pixels
        raise InputError(f"none of {len(self.wanted)} images can be read; the first: {why}")
