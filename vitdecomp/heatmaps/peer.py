"""Packages with methods of their own, which are imported when they are first asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from vitdecomp.errors import LoadError

DISTRIBUTIONS = {"pytorch_grad_cam": "grad-cam", "captum.attr": "captum"}


def peer(module: str, method: str) -> Any:
    """Import a module of such a package.

    Raises:
        LoadError: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        needed = DISTRIBUTIONS[module]
        raise LoadError(f"{method} needs the package {needed}: pip install 'vitdecomp[peers]'") from error
