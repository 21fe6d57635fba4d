"""Shards in the format of webdataset: tar files, in which the files of one sample share a name."""

from __future__ import annotations

import errno
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, cast

from vitdecomp._utils.limits import FILE, NOTE, LimitedReader, check_size
from vitdecomp.datasets.image import Picture
from vitdecomp.errors import InputError
from vitdecomp.images.formats import suffixes
from vitdecomp.images.image_list import is_hidden

LABELS = ("cls", "label", "txt")  # the first that a sample has
GROUPS = "json"


class WebDataset:
    """A tar file, or a folder of tar files; a sample's `.cls` is its label, and its `.json` its groups.

    Raises:
        InputError: a shard that is damaged or compressed, or no image.
    """

    def __init__(self, place: Path) -> None:
        shards = [place] if place.is_file() else sorted(_shards(place))
        self.root = (place.parent if place.is_file() else place).absolute()
        found = [sample for shard in shards for sample in _samples(shard)]
        self.pictures = tuple(sample.picture() for sample in found)
        self._spans = tuple((sample.shard, *sample.spans[sample.image]) for sample in found)
        if not found:
            raise InputError(
                f"no images in {place}: looked for {', '.join(sorted(suffixes()))} in {len(shards)} shards"
            )

    @classmethod
    def recognises(cls, place: Path) -> bool:
        """Recognize a tar file, or a folder that holds some and no images."""
        if place.is_file():
            return place.suffix == ".tar"
        endings = suffixes()
        return any(_shards(place)) and not any(path.suffix.lower() in endings for path in place.iterdir())

    def read(self, index: int) -> bytes:
        """Read the file of an image, straight from its place in the shard.

        Raises:
            OSError: it is too large for an image.
        """
        shard, start, length = self._spans[index]
        if length > FILE:
            raise OSError(errno.EFBIG, f"it has {length:,} bytes, more than {FILE:,}")
        return _bytes(shard, start, length)


@dataclass(slots=True)
class _Sample:
    """Where the files of a sample are in a shard."""

    shard: Path
    key: str
    spans: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def image(self) -> str:
        """The ending of its image; empty if it has none."""
        known = suffixes()
        return next((ending for ending in self.spans if f".{ending.rpartition('.')[2].lower()}" in known), "")

    def picture(self) -> Picture:
        """Return what is known of it."""
        name = f"{self.shard.name}/{self.key}.{self.image}"
        label = next((self._text(ending) for ending in LABELS if ending in self.spans), None)
        return Picture(name, label, self._groups())

    def _groups(self) -> dict[str, str]:
        if GROUPS not in self.spans:
            return {}
        text = self._text(GROUPS)
        try:
            told = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{self.shard}: {self.key}.{GROUPS} is not JSON") from error
        return {key: str(value) for key, value in told.items()} if isinstance(told, dict) else {}

    def _text(self, ending: str) -> str:
        start, length = self.spans[ending]
        check_size(length, NOTE, f"{self.key}.{ending} in {self.shard}")
        return _bytes(self.shard, start, length).decode("utf-8", "replace").strip()


def _shards(place: Path) -> Iterator[Path]:
    return (path for path in place.glob("*.tar") if path.is_file() and not is_hidden(path.name))


def _samples(shard: Path) -> Iterator[_Sample]:
    """Yield the samples of a shard that have an image, in its order."""
    samples: dict[str, _Sample] = {}
    try:
        with shard.open("rb") as file, tarfile.open(fileobj=_limited(file, shard), mode="r:") as tar:
            for member in tar:
                path = _inside(member, shard)
                if member.isfile() and not any(map(is_hidden, path.parts)):
                    key, _, ending = path.name.partition(".")
                    name = (path.parent / key).as_posix()
                    sample = samples.setdefault(name, _Sample(shard, name))
                    sample.spans[ending] = (member.offset_data, member.size)
    except (OSError, tarfile.TarError) as error:
        raise InputError(f"cannot read shard {shard}: {error}") from error
    size = shard.stat().st_size
    for sample in samples.values():
        if any(start + length > size for start, length in sample.spans.values()):
            raise InputError(f"cannot read shard {shard}: it is cut off")
        if sample.image:
            yield sample


def _limited(file: BinaryIO, shard: Path) -> IO[bytes]:
    """Hand a shard to the library; a record may say that the name behind it takes gigabytes."""
    return cast(IO[bytes], LimitedReader(file, NOTE, f"a name in {shard}"))


def _inside(member: tarfile.TarInfo, shard: Path) -> PurePosixPath:
    """Return the name of a member, which is one inside the shard, of bytes that follow one another.

    Raises:
        InputError: it leads out of the shard, or the member is sparse.
    """
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\\" in member.name:
        raise InputError(f"cannot read shard {shard}: the name {member.name[:100]!r} leads out of it")
    if member.issparse():
        raise InputError(f"cannot read shard {shard}: {member.name[:100]!r} is a sparse file; write it as a plain one")
    return path


def _bytes(shard: Path, start: int, length: int) -> bytes:
    with shard.open("rb") as file:
        file.seek(start)
        return file.read(length)
