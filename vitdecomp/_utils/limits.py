"""How much is read of what others wrote: one limit for each kind of thing, and one error for all of them."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from vitdecomp.errors import InputError

HEADER = 100_000_000  # bytes of a header, or of a model's configuration; safetensors has the same limit
INDEX = 2**30  # bytes of JSON with checksums of a store: 5 for each MiB of it
FILE = 2**30  # bytes of an image, a table, or an index of another library
TEXTS = 2**26  # bytes of a list of texts
CELL = 2**24  # characters of a cell of a table
NOTE = 2**20  # bytes that tell the label or the groups of one image


def check_size(size: int, most: int, what: str, remedy: str = "") -> None:
    """Refuse what is larger than anything that is meant to be there.

    Args:
        size: in bytes.
        most: one of the limits of this module.
        what: begins the message, such as "the header of maps.safetensors".
        remedy: ends it.

    Raises:
        InputError: it is larger.
    """
    if size > most:
        end = f"; {remedy}" if remedy else ""
        raise InputError(f"{what} has {size:,} bytes, and no more than {most:,} are read{end}")


def check_configuration(folder: Path) -> None:
    """Refuse a folder with a model whose files of JSON are larger than any configuration; a library reads them whole.

    Raises:
        InputError: one is.
    """
    for path in sorted(folder.glob("*.json")):
        check_size(path.stat().st_size, HEADER, str(path))


class LimitedReader:
    """A file of which no more than so many bytes are read at once, for a library that trusts sizes in a header.

    Args:
        file: open for reading. most: bytes. what: begins the message.
    """

    def __init__(self, file: BinaryIO, most: int, what: str) -> None:
        self._file, self._most, self._what = file, most, what

    def read(self, size: int = -1) -> bytes:
        """Read so many bytes.

        Raises:
            InputError: they are more than the limit.
        """
        here = self._file.tell()
        left = self._file.seek(0, 2) - here if size < 0 else size
        self._file.seek(here)
        check_size(left, self._most, self._what)
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Tell the place."""
        return self._file.tell()
