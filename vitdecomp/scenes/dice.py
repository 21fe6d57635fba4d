"""Random numbers that are the same everywhere: raw 64-bit words of PCG64, whose stream numpy guarantees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from jaxtyping import Float32, UInt64

T = TypeVar("T")


def words(*key: int, count: int) -> UInt64[np.ndarray, "count"]:
    """Return the first `count` random words for a key of non-negative integers."""
    return np.random.PCG64(np.random.SeedSequence(key)).random_raw(count)


class Dice:
    """Draws from a block of random words, each draw from the next ones.

    Args:
        block: the words; drawing more than it holds is an `IndexError`.
    """

    def __init__(self, block: UInt64[np.ndarray, "count"]) -> None:
        self._block = block
        self._next = 0

    def below(self, n: int) -> int:
        """Draw an integer from 0 to n - 1."""
        self._next += 1
        return int(self._block[self._next - 1]) % n

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """Draw a number between two, of 53 random bits."""
        return low + (high - low) * ((self.below(1 << 64) >> 11) * 2.0**-53)

    def chance(self, p: float) -> bool:
        """Return True with probability p; consume one word whatever p is."""
        return self.uniform() < p

    def pick(self, choices: Sequence[T]) -> T:
        """Return one of the choices."""
        return choices[self.below(len(choices))]

    def other(self, choices: Sequence[T], value: T) -> T:
        """Return one of the choices that differs from a value."""
        return self.pick([choice for choice in choices if choice != value])

    def lattice(self, rows: int, columns: int) -> Float32[np.ndarray, "rows columns"]:
        """Draw a table of numbers between 0 and 1, of 24 random bits."""
        taken = self._block[self._next : self._next + rows * columns].reshape(rows, columns)
        self._next += rows * columns
        return (taken >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)

    def integers(self, count: int, n: int) -> list[int]:
        """`count` integers from 0 to n - 1."""
        return [self.below(n) for _ in range(count)]
