"""Make the pictures of the README and of the front page: `python docs/pictures` (`make pictures`; some minutes).

    python docs/pictures search heads       only these

Everything is measured on scenes that no model was trained on; each file says of which and how many.
"""

from __future__ import annotations

import sys
import time

import cue
import heads
import maps
import search

PICTURES = {module.__name__: module.draw for module in (heads, search, maps, cue)}


def main(names: list[str]) -> int:
    """Draw some pictures, or all."""
    unknown = [name for name in names if name not in PICTURES]
    if unknown:
        sys.stderr.write(f"error: no picture {unknown[0]!r}: choose {', '.join(PICTURES)}\n")
        return 2
    for name in names or PICTURES:
        start = time.monotonic()
        path = PICTURES[name]()
        sys.stdout.write(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB in {time.monotonic() - start:.0f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
