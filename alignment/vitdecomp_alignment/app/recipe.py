"""What reproduces a view outside of the page: a command line, and lines of Python."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from vitdecomp._utils.files import cache_directory
from vitdecomp.models.prepare import ModelOptions
from vitdecomp_alignment.app.session import Session

OPEN = "from vitdecomp_alignment.app.session import Session\n{}\nsession = Session.open({})\n"


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
    return shlex.join(["vitdecomp", verb, session.options.model, *_model_flags(session), *given(flags), *words])


def _model_flags(session: Session) -> list[str]:
    """Write how the model is loaded, and where what can be computed again lies, if it is not as usual."""
    options = session.options
    flags = {
        "--checkpoint": options.checkpoint,
        "--device": None if options.device == "auto" else options.device,
        "--dtype": options.dtype,
        "--seed": options.seed or None,
        "--image-size": options.image_size,
        "--cache": None if session.cache == cache_directory() else session.cache,
    }
    random = ["--random-weights"] if options.random_weights else []
    return [*random, *given(flags), *repeated("--import", options.imports)]


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
        "cache": None if session.cache == cache_directory() else str(session.cache),
    }
    model, imports = _model_python(session)
    arguments = [model, *(f"{k}={v!r}" for k, v in named.items() if v is not None)]
    if reading.limit != 1000:
        arguments.append(f"limit={reading.limit!r}")
    return OPEN.format(imports, ", ".join(arguments)) + "\n".join(lines) + "\n"


def _model_python(session: Session) -> tuple[str, str]:
    """Write the model, and what has to be imported for that."""
    options = session.options
    usual = ModelOptions(options.model)
    values = {f.name: getattr(options, f.name) for f in fields(options) if f.name != "model"}
    other = {name: value for name, value in values.items() if value != getattr(usual, name)}
    if not other:
        return repr(options.model), ""
    told = (
        f"{name}=Path({str(value)!r})" if isinstance(value, Path) else f"{name}={value!r}"
        for name, value in other.items()
    )
    lines = "from pathlib import Path\nfrom vitdecomp.models.prepare import ModelOptions\n"
    return f"ModelOptions({options.model!r}, {', '.join(told)})", lines


def shell_python(code: str) -> str:
    """Write a command line that runs Python, for what no command prints."""
    return f"python - <<'END'\n{code}END"
