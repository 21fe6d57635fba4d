"""The version, which stands in `pyproject.toml` and from there in the metadata of the installed package."""

from __future__ import annotations

from importlib.metadata import version

__version__ = version("vitdecomp")
