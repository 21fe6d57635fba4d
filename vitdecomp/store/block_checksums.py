"""Checksums of a file, one for each MiB: whoever reads a part of a large file checks that part and no more."""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode
from functools import partial
from pathlib import Path

BLOCK = 2**20  # bytes
WIDTH = 4  # bytes of a CRC-32, which sees every flipped bit, and all but 2^-32 of larger damage


def block_checksums(path: Path) -> str:
    """CRC-32 of each block of a file, in base64.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        blocks = iter(partial(file.read, BLOCK), b"")
        return b64encode(b"".join(zlib.crc32(block).to_bytes(WIDTH, "little") for block in blocks)).decode()


class Blocks:
    """A file beside the checksums that were recorded of it; each block is compared once.

    Args:
        told: what `block_checksums` gave.

    Attributes:
        columns: what has been compared of the file, for the one who knows what stands where.

    Raises:
        ValueError: that is no such text.
    """

    def __init__(self, told: str) -> None:
        raw = b64decode(told, validate=True)
        self._told = [raw[i : i + WIDTH] for i in range(0, len(raw), WIDTH)]
        self._whole: set[int] = set()
        self.columns: set[int] = set()

    def __len__(self) -> int:
        """Count the blocks."""
        return len(self._told)

    @property
    def all(self) -> range:
        """Every byte that a file of so many blocks may have."""
        return range(BLOCK * len(self))

    def differ(self, path: Path, *ranges: range) -> bool:
        """Check whether blocks in which some of these bytes lie are not what they were.

        Args:
            path: of the file, or of a copy.
            ranges: of bytes.

        Raises:
            OSError: it cannot be read.
        """
        wanted = {block for r in ranges if len(r) for block in range(r.start // BLOCK, (r.stop - 1) // BLOCK + 1)}
        with path.open("rb") as file:
            for block in sorted(wanted - self._whole):
                file.seek(block * BLOCK)
                if block >= len(self) or zlib.crc32(file.read(BLOCK)).to_bytes(WIDTH, "little") != self._told[block]:
                    return True
                self._whole.add(block)
        return False
