"""The image formats that are read: raster formats alone, none that runs a program or draws a page."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from pathlib import PurePath
from types import MappingProxyType

from PIL import Image

# Pillow's name -> endings. HEIF and JXL count once a plugin of Pillow's is registered.
FORMATS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "AVIF": (".avif", ".avifs"),
        "BMP": (".bmp",),
        "DIB": (".dib",),
        "GIF": (".gif",),
        "HEIF": (".heic", ".heif", ".hif"),
        "ICO": (".ico",),
        "JPEG": (".jfif", ".jif", ".jpe", ".jpeg", ".jpg", ".mpo"),
        "JPEG2000": (".j2c", ".j2k", ".jp2", ".jpc", ".jpf", ".jpx"),
        "JXL": (".jxl",),
        "PCX": (".pcx",),
        "PNG": (".apng", ".png"),
        "PPM": (".pbm", ".pfm", ".pgm", ".pnm", ".ppm"),
        "QOI": (".qoi",),
        "SGI": (".sgi",),
        "TGA": (".icb", ".tga", ".vda", ".vst"),
        "TIFF": (".tif", ".tiff"),
        "WEBP": (".webp",),
    }
)


def readable_formats() -> tuple[str, ...]:
    """List the formats that the installed Pillow can open."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def suffixes() -> frozenset[str]:
    """List the endings of files in these formats, in lower case."""
    return frozenset(suffix for name in readable_formats() for suffix in FORMATS[name])


def looks_like_image(name: str) -> bool:
    """Tell whether a file's ending is that of an image of any kind, read here or not."""
    suffix = PurePath(name).suffix.lower()
    known = suffix in Image.EXTENSION or any(suffix in endings for endings in FORMATS.values())
    return known or (mimetypes.guess_type(f"x{suffix}")[0] or "").startswith("image/")
