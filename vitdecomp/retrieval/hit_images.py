"""The images of hits, for a sheet. A store may be a stranger's file: its paths are claims, and not to be followed."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from PIL import Image

from vitdecomp._utils.checksum import digest
from vitdecomp.datasets import Pictures
from vitdecomp.errors import InputError
from vitdecomp.images.decoding import decode
from vitdecomp.images.reading import read_file
from vitdecomp.retrieval.hit import Hit

SIDE = 160  # pixels of a thumbnail
LIMIT = 2**28  # bytes of a file that is made into one
GONE = "its file is gone"


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small image, or the reason why there is none.

    Attributes:
        image: at most `SIDE` pixels wide and high. reason: why it is `None`. link: URI of the file that it is made of.
    """

    image: Image.Image | None = None
    reason: str = ""
    link: str | None = None


@runtime_checkable
class HitImages(Protocol):
    """Where the images of hits are taken from."""

    def read(self, hit: Hit) -> tuple[bytes, Path | None]:
        """Read an image's file; return its content, and the file if it is one of its own.

        Raises:
            OSError: there is none, or none that may be shown; the message is the reason.
        """
        ...


@dataclass(frozen=True, slots=True)
class InFolders:
    """Images below folders that a user names.

    A file counts if, all links followed, it lies below one of the folders, is a regular file, and has the checksum that
    its row has. Where the recorded path leads elsewhere, the image's id below the folder is tried.

    Attributes:
        folders: none shows nothing. digests: SHA-256 of the files, by row; one that is not there is not compared.
    """

    folders: Sequence[Path] = ()
    digests: Mapping[int, str] = field(default_factory=dict)

    def read(self, hit: Hit) -> tuple[bytes, Path | None]:
        """Read a file below the folders.

        Raises:
            OSError: there is none; the message is the reason.
        """
        if not self.folders:
            raise OSError("no folder is named with --image-root")
        names = [str(name) for name in (hit.path, hit.id) if name]
        reasons = [GONE]
        for folder, name in ((folder, name) for folder in self.folders for name in names):
            try:
                return self._below(folder, name, hit.row)
            except OSError as error:
                reasons.append(error.strerror or str(error))
        raise OSError(next((reason for reason in reasons if reason != GONE), GONE))

    def _below(self, folder: Path, name: str, row: int) -> tuple[bytes, Path]:
        try:
            path, root = (folder / name).resolve(strict=True), folder.resolve(strict=True)
        except (FileNotFoundError, NotADirectoryError):
            raise OSError(GONE) from None
        except (ValueError, RuntimeError) as error:  # a NUL byte, a circle of links
            raise OSError(f"not a valid file name ({error})") from None
        if not path.is_relative_to(root):
            raise OSError(f"its file is not below {folder}")
        data = read_file(path, LIMIT)
        if row in self.digests and digest([data]) != self.digests[row]:
            raise OSError("its file has changed since it was decomposed")
        return data, path


@dataclass(frozen=True, slots=True)
class InDataSet:
    """Images of a data set that a user names, by their ids.

    Attributes:
        pictures: the data set. places: of the images in it, by id.
    """

    pictures: Pictures
    places: Mapping[str, int]

    @classmethod
    def of(cls, pictures: Pictures) -> InDataSet:
        """Return all images of a data set."""
        return cls(pictures, {one.id: i for i, one in enumerate(pictures.pictures)})

    def read(self, hit: Hit) -> tuple[bytes, Path | None]:
        """Read an image's file.

        Raises:
            OSError: it cannot be read.
        """
        if hit.id not in self.places:
            raise OSError("it is not in the data set")
        path = self.pictures.root / hit.id
        return self.pictures.read(self.places[hit.id]), path if path.is_file() else None


def thumbnail_of(hit: Hit, images: HitImages) -> Thumbnail:
    """Make a hit's thumbnail, whatever its file is."""
    try:
        data, path = images.read(hit)
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = decode(data, "")
    except OSError as error:
        return Thumbnail(reason=error.strerror or str(error))
    except InputError as error:
        return Thumbnail(reason=str(error).removeprefix("cannot read image : "))
    return Thumbnail(shrunk(image), link=None if path is None else path.absolute().as_uri())


def shrunk(image: Image.Image) -> Image.Image:
    """Shrink an image to a thumbnail."""
    small = image.convert("RGB")
    small.thumbnail((SIDE, SIDE))
    return small
