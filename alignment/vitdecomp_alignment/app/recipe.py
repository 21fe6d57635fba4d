"""What reproduces a view outside of the page: a command line, and lines of Python."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from vitdecomp_alignment.app.session import Session

OPEN = "from vitdecomp_alignment.app.session import Session\n\nsession = Session.open({})\n"


def command(session: Session, verb: str, *words: str, images: str | None = None, limit: bool = True) -> str:
    """Write a command line about the session's model; everything is quoted for a shell.

    Args:
        session: names the model, the images or the store, and the maps.
        verb: of `vitdecomp`.
        words: its own flags.
        images: a file in place of the session's images; `""` for neither.
        limit: whether the command takes a limit of images.
    """
    reading = session.config.reading
    flags: dict[str, Any] = {"--maps": reading.maps, "--clip": reading.clip}
    if images is None:
        flags |= {"--images": reading.images, "--store": reading.store}
        flags |= {"--limit": None if reading.store or not limit else reading.limit}
    elif images:
        flags |= {"--images": images}
    if reading.by != "head" and images is None:
        flags |= {"--by": reading.by}
    return shlex.join(["vitdecomp", verb, session.options.model, *given(flags), *words])


def given(flags: Mapping[str, Any]) -> Iterable[str]:
    """Yield the flags that have a value, each as one word, so that a value may begin with a dash."""
    return (f"{name}={value}" for name, value in flags.items() if value is not None)


def repeated(flag: str, values: Iterable[object]) -> list[str]:
    """Write a flag once for each value."""
    return [f"{flag}={value}" for value in values]


def python(session: Session, *lines: str) -> str:
    """Write Python that opens the same session, and goes on with some lines."""
    reading = session.config.reading
    named = {
        "store": reading.store,
        "maps": None if reading.maps is None else str(reading.maps),
        "clip": reading.clip,
        "images": None if reading.images is None else str(reading.images),
        "by": None if reading.by == "head" else reading.by,
        "features": session.config.features or None,
    }
    arguments = [repr(session.options.model), *(f"{k}={v!r}" for k, v in named.items() if v is not None)]
    if reading.limit != 1000:
        arguments.append(f"limit={reading.limit!r}")
    return OPEN.format(", ".join(arguments)) + "\n".join(lines) + "\n"


def shell_python(code: str) -> str:
    """Write a command line that runs Python, for what no command prints."""
    return f"python - <<'END'\n{code}END"
