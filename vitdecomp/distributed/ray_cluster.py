"""A Ray cluster: joined or started here, and what its processes tell of their errors."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from importlib import import_module
from pathlib import Path
from socket import create_connection
from typing import Any

from vitdecomp.errors import (
    CoverageError,
    InexactError,
    InputError,
    LoadError,
    OutputError,
    RankError,
    SpecError,
    TraceError,
    VitdecompError,
)

GPUS = ("auto", "cuda")  # devices that mean a GPU for each process, where the cluster has any
REACHED = 10  # seconds in which a cluster must answer
KINDS: Mapping[str, type[VitdecompError]] = {
    kind.__name__: kind
    for kind in (CoverageError, InexactError, InputError, LoadError, OutputError, RankError, SpecError, TraceError)
}
# Read when Ray is imported. Its Train has no second version before 2.51 unless it is asked for.
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_V2_ENABLED": "1",
}


class RayCluster:
    """The cluster at an address, or one on this machine.

    Args:
        address: `HOST:PORT` of a cluster; `None` starts one.
        part: of Ray that is needed, such as `ray.data`.

    Attributes:
        ray: the package.

    Raises:
        LoadError: it is not installed.
    """

    def __init__(self, address: str | None, part: str) -> None:
        os.environ.update(SETTINGS)  # before it is imported, and for the processes that it starts
        try:
            import_module(part)
            self.ray: Any = import_module("ray")
        except ImportError as error:
            raise LoadError("--engine ray needs Ray: pip install 'vitdecomp[ray]'") from error
        self.address = address

    @contextmanager
    def started(self) -> Iterator[None]:
        """Join the cluster, or start it; a process that has joined one stays in it.

        Raises:
            RankError: there is none.
        """
        own = not self.ray.is_initialized()
        if own:
            self._reach()
            quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
            local = {} if self.address else {"include_dashboard": False}
            try:
                self.ray.init(address=self.address, **quiet, **local)
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise self._missing(line(error)) from error
        with redirect_stdout(sys.stderr):  # Ray prints what its nodes report, to the very end
            try:
                yield
            finally:
                if own:
                    self.ray.shutdown()

    def _reach(self) -> None:
        """Knock at the door: Ray itself would try again for a quarter of an hour."""
        host, _, port = (self.address or "").rpartition(":")
        if not port.isdecimal():
            return  # Ray knows other names for a cluster, such as `auto`
        try:
            create_connection((host.rpartition("/")[2], int(port)), timeout=REACHED).close()
        except (OSError, OverflowError) as error:
            raise self._missing(str(error)) from error

    def _missing(self, why: str) -> RankError:
        return RankError(f"there is no Ray cluster at {self.address or 'hand'}: {why}")

    def machines(self) -> list[Mapping[str, float]]:
        """What each machine has, such as `{"CPU": 16.0, "GPU": 1.0}`."""
        return [node["Resources"] for node in self.ray.nodes() if node["Alive"]]


def go_to(place: Path) -> None:
    """Let relative paths mean in this process what they mean to the caller, if this machine has the caller's folder."""
    with suppress(OSError):
        os.chdir(place)


def line(error: BaseException) -> str:
    """The last line of what Ray says, which names the cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]


def as_told(kind: str, text: str) -> VitdecompError:
    """An error of another process, by the name of its class."""
    return KINDS.get(kind, VitdecompError)(text)
