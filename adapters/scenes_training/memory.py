"""Memory that is kept from step to step: on a CPU, giving it back and fetching it anew can cost more than the step."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # of glibc's malloc.h


def keep_memory(pad: int = 2**27) -> bool:
    """Tell glibc's malloc to keep what this process frees.

    By default it maps every large tensor anew, and the kernel clears its pages each time: on two cores the steps took
    about three times as long as with this, nearly all of it inside the kernel.

    Args:
        pad: bytes to fetch beyond what is asked for.

    Returns:
        Whether there is such a malloc.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    settings = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1), (M_TOP_PAD, pad))
    return mallopt is not None and all(bool(mallopt(what, value)) for what, value in settings)
