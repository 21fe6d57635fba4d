"""Which images stand for all, where measures of all would take longer than anyone waits."""

from __future__ import annotations

SAMPLE = 4096  # images
RUNS = 4  # of neighboring images: each reads a whole block of every column, whose checksum is compared


def sample(n: int) -> tuple[range, ...]:
    """Return runs of n images that are spread over all of them."""
    if n <= SAMPLE:
        return (range(n),)
    size = SAMPLE // RUNS
    return tuple(range(start, start + size) for start in (i * (n - size) // (RUNS - 1) for i in range(RUNS)))
