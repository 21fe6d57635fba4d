"""A folder of linear paths: what was found for a model's structure is found again for other weights of it."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, fx, nn

from vitdecomp.errors import OutputError
from vitdecomp.files import atomic, cache_directory, make_directory
from vitdecomp.trace.capture import Captured, again
from vitdecomp.trace.paths import LinearPaths
from vitdecomp.trace.saved.codec import Reader
from vitdecomp.trace.saved.graph import read, written
from vitdecomp.trace.saved.named import UnnamedError

SUFFIX, NEW = ".paths.safetensors", ".new"
ABANDONED = 3600  # seconds: whoever began to write a file so long ago was killed
MAX_BYTES = 2**28  # of a folder
# What a file that is not there, damaged, or of another model may raise.
UNREADABLE = (
    SafetensorError, OSError, LookupError, TypeError, ValueError, AttributeError, RuntimeError, RecursionError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PathsCache:
    """Linear paths in a folder.

    A file is named by a checksum of the model's structure. It holds the graph and the paths as JSON, and the graph's
    constants, but no weights. Whatever is read is run beside the module, and taken only if it computes the same.

    Attributes:
        folder: where the files are.
    """

    folder: Path

    @classmethod
    def standard(cls) -> PathsCache:
        """The one in the cache's usual place."""
        return cls(cache_directory() / "paths")

    def find(self, key: str, module: nn.Module, images: Tensor) -> LinearPaths | None:
        """The paths of a module of a known structure; `None` where there is nothing that can be used.

        Raises:
            InputError: the module refuses the images.
        """
        with suppress(*UNREADABLE):
            data, constants = self._read(key)
            graph, nodes = read(data["graph"], constants, module)
            captured = again(module, images, graph, data["front_end"], data["batch"])
            return None if captured is None else _paths(data, nodes, captured)
        return None

    def find_in(self, key: str, module: nn.Module, captured: Captured) -> LinearPaths | None:
        """Other paths in a graph that is at hand."""
        with suppress(*UNREADABLE):
            data, _ = self._read(key)
            same = json.loads(json.dumps(written(captured.module, module)[0])) == data["graph"]
            return _paths(data, list(captured.module.graph.nodes), captured) if same else None
        return None

    def keep(self, key: str, module: nn.Module, paths: LinearPaths) -> None:
        """Write paths down, if that can be done: what has no name in a file is traced anew each time."""
        with suppress(UnnamedError, OutputError, OSError):
            made = _file(paths, module)
            make_directory(self.folder)
            own = self.folder / f"{uuid4().hex}{NEW}"  # several processes may write the same paths
            with atomic(own) as place:
                place.write_bytes(made)
            own.replace(self._path(key))
            self._shrink()

    def _path(self, key: str) -> Path:
        return self.folder / (key + SUFFIX)

    def _read(self, key: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """The contents of a file, which is marked as used."""
        path = self._path(key)
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            constants = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        if metadata["checksum"] != _checksum(metadata["paths"], constants):
            raise ValueError(f"{path} is damaged")
        with suppress(OSError):
            os.utime(path)
        data: dict[str, Any] = json.loads(metadata["paths"])
        return data, constants

    def _shrink(self) -> None:
        """Remove what was not used for longest, and what was never finished."""
        for path in self.folder.glob(f"*{NEW}*"):
            if time.time() - path.stat().st_mtime > ABANDONED:
                path.unlink(missing_ok=True)
        known = [(path.stat(), path) for path in self.folder.glob("*" + SUFFIX)]
        total = 0
        for stat, path in sorted(known, key=lambda entry: -entry[0].st_mtime):
            total += stat.st_size
            if total > MAX_BYTES:
                path.unlink(missing_ok=True)


def _file(paths: LinearPaths, module: nn.Module) -> bytes:
    captured = paths.captured
    graph, constants, write = written(captured.module, module)
    root = write(paths)
    data = {
        "graph": graph,
        "front_end": captured.front_end,
        "batch": captured.batch,
        "table": write.table,
        "root": root,
    }
    text = json.dumps(data, separators=(",", ":"))
    return save(constants, {"paths": text, "checksum": _checksum(text, constants)})


def _checksum(text: str, constants: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(constants):
        digest.update(name.encode() + constants[name].reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _paths(data: Mapping[str, Any], nodes: list[fx.Node], captured: Captured) -> LinearPaths:
    reader = Reader(nodes, captured)
    reader.enter(data["table"])
    found = reader(data["root"])
    if not isinstance(found, LinearPaths):
        raise UnnamedError(f"paths of type {type(found).__name__}")
    return found
