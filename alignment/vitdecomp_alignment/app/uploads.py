"""Images that were dropped into the page: checked, kept in a folder of their own, never executed."""

from __future__ import annotations

import io
import re
import warnings
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from PIL import Image, UnidentifiedImageError

from vitdecomp._utils.checksum import digest
from vitdecomp._utils.console import printable
from vitdecomp.errors import InputError, SpecError
from vitdecomp.images.decoding import decode
from vitdecomp.images.formats import readable_formats

BYTES = 32 * 2**20  # of a file
PIXELS = 50_000_000
KEPT = 32  # files
NAMED = 120  # characters of a name


@dataclass(frozen=True, slots=True)
class Upload:
    """An image of the user's.

    Attributes:
        id: checksum of the file. name: as the user has it. path: where it is kept. size: width and height.
    """

    id: str
    name: str
    path: Path
    size: tuple[int, int]

    @property
    def image(self) -> Image.Image:
        """Its pixels, which are not kept in memory."""
        return decode(self.path.read_bytes(), self.name)


class Uploads:
    """The images that were dropped, the last ones only.

    Args:
        folder: where their files are kept, under names of our own.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: OrderedDict[str, Upload] = OrderedDict()
        self._lock = Lock()

    def add(self, data: bytes, name: str) -> Upload:
        """Check an image, and keep it.

        Raises:
            InputError: it is too large, or no image that can be read.
        """
        shown = plain_name(name)
        image = checked_image(data, shown)
        key = digest([data])
        upload = Upload(key, shown, self.folder / f"{key}.image", image.size)
        with self._lock:
            upload.path.write_bytes(data)
            self._known[key] = upload
            self._known.move_to_end(key)
            while len(self._known) > KEPT:
                _, oldest = self._known.popitem(last=False)
                oldest.path.unlink(missing_ok=True)
        return upload

    def of(self, key: str) -> Upload:
        """Return an image by its id.

        Raises:
            SpecError: it is not here, such as after a restart.
        """
        with self._lock:
            if key not in self._known:
                raise SpecError("this image is not here any more: drop it into the page again")
            return self._known[key]


def checked_image(data: bytes, name: str) -> Image.Image:
    """Decode an image whose size is looked at before its pixels are.

    Raises:
        InputError: it is too large, or no image that can be read.
    """
    if len(data) > BYTES:
        raise InputError(f"{name} has {len(data):,} bytes, and {BYTES:,} are taken: make it smaller")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(data), formats=readable_formats()) as opened:
                width, height = opened.size
        except UnidentifiedImageError:
            raise InputError(f"cannot read image {name}: its format is not one of those that are read") from None
        except Image.DecompressionBombError:
            raise InputError(f"{name} has too many pixels, {PIXELS:,} are taken: make it smaller") from None
        except MemoryError:
            raise
        except Exception as error:  # decoders of damaged files fail in every way there is
            raise InputError(f"cannot read image {name}: {type(error).__name__}") from error
        if width * height > PIXELS:
            raise InputError(f"{name} has {width:,} x {height:,} pixels, and {PIXELS:,} are taken: make it smaller")
        return decode(data, name)


def plain_name(name: str) -> str:
    """Keep the last part of a file's name, without what a terminal or a shell would obey."""
    last = re.split(r"[/\\]", printable(name))[-1].strip().lstrip("-.")
    return last[-NAMED:] or "image"
