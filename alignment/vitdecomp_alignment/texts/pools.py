"""Pools of texts to name directions with: the user's own, and the one that ships."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path

from vitdecomp._utils.limits import TEXTS
from vitdecomp.errors import InputError
from vitdecomp.images.reading import read_file
from vitdecomp_alignment.texts.lines import COMMENT, PACKAGE, lines_of

SHIPPED = "general.txt"  # made by `python -m vitdecomp_alignment.texts`


@cache
def general_texts() -> tuple[str, ...]:
    """Return several thousand short descriptions of pictures, of many kinds."""
    return lines_of(files(PACKAGE).joinpath(SHIPPED).read_text(encoding="utf-8"))


def read_texts(path: Path) -> tuple[str, ...]:
    """Read the texts of a file in UTF-8, one a line, in their order, each once.

    Blank lines and lines that begin with `#` are left out, and so is the space around a text.

    Args:
        path: of the file.

    Raises:
        InputError: there is no such file, it is not text in UTF-8, or there is no text in it.
    """
    if path.is_dir():
        raise InputError(f"cannot read texts from {path}: it is a directory; give a text file, one text a line")
    if not path.exists():
        raise InputError(f"there is no file {path}; give a text file, one text a line")
    texts = lines_of(_content(path))
    if not texts:
        raise InputError(f"no texts in {path}: write one a line; lines that begin with {COMMENT} do not count")
    return texts


def _content(path: Path) -> str:
    try:
        content = read_file(path, TEXTS).decode("utf-8-sig")  # some editors begin a file with a mark
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8, one text a line") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    return content
