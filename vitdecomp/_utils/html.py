"""Pages that need nothing else: templates that escape what they are given, and images inside of them."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from PIL import Image

from vitdecomp._utils.console import printable
from vitdecomp._utils.files import atomic

SIDE = 224  # pixels of the longer side of a picture, at least


def template(package: str, name: str, **filters: Callable[..., Any]) -> Template:
    """Read a template in which all text is escaped, and control characters are made visible.

    Args:
        package: in which it lies.
        name: of its file.
        filters: by name; `uri` is `png_uri` unless it is given.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_text
    )
    environment.filters |= {"uri": png_uri, **filters}
    return environment.from_string(files(package).joinpath(name).read_text(encoding="utf-8"))


def stream_page(page: Template, values: Mapping[str, Any], place: Path) -> Path:
    """Write a page piece by piece, as its values are made.

    Raises:
        OutputError: it cannot be written.
    """
    with atomic(place) as partial, partial.open("wb") as file:
        page.stream(values).dump(file, encoding="utf-8")
    return place


def png_uri(picture: Image.Image) -> str:
    """Encode a picture without loss; a small one is enlarged by a whole number."""
    scale = max(1, -(-SIDE // max(picture.size)))
    large = picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)
    return image_uri(large, "PNG")


def image_uri(picture: Image.Image, kind: str, **options: Any) -> str:
    """Encode a picture as a data URI.

    Args:
        picture: what to encode.
        kind: `PNG` or `JPEG`.
        options: of Pillow's `save`.
    """
    buffer = BytesIO()
    picture.save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _text(value: Any) -> Any:
    """Strangers' names without control characters."""
    return printable(value) if isinstance(value, str) else value
