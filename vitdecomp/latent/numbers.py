"""Numbers of layers and tokens."""

from __future__ import annotations

from collections.abc import Sequence

from vitdecomp.errors import SpecError


def chosen(asked: Sequence[int] | None, count: int, what: str) -> list[int]:
    """Check the numbers of layers or tokens; negative ones count from the end, `None` stands for all.

    One that is asked for twice, as by -1 and by its own number, comes once, where it was asked for first.

    Raises:
        SpecError: there is no such number, or none is given.
    """
    if asked is None:
        return list(range(count))
    wrong = [i for i in asked if not -count <= i < count]
    if wrong or not len(asked):
        given = f"no {what} {wrong[0]}" if wrong else f"no {what} is asked for"
        raise SpecError(f"{given}: {what}s of this model are 0 to {count - 1}")
    return list(dict.fromkeys(i % count for i in asked))
