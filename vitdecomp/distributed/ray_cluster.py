"""A Ray cluster: joined at an address, or started on this machine."""

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

from vitdecomp.errors import LoadError, RankError

GPU_DEVICES = ("auto", "cuda")  # devices that mean a GPU for each process, where the cluster has any
CONNECT_TIMEOUT = 10  # seconds in which a cluster must answer
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

    Attributes:
        ray: the package.

    Raises:
        LoadError: Ray is not installed.
    """

    def __init__(self, address: str | None) -> None:
        os.environ.update(SETTINGS)  # before it is imported, and for the processes that it starts
        require("ray.data")
        self.ray, self.address = require("ray"), address

    @contextmanager
    def started(self) -> Iterator[None]:
        """Join the cluster, or start it; a process that has joined one already stays in it.

        Raises:
            RankError: the cluster cannot be reached.
        """
        own = not self.ray.is_initialized()
        if own:
            self._check_address()
            quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
            local = {} if self.address else {"include_dashboard": False}
            try:
                self.ray.init(address=self.address, **quiet, **local)
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise self._unreachable(last_line(error)) from error
        with redirect_stdout(sys.stderr):  # Ray prints what its nodes report, to the very end
            try:
                yield
            finally:
                if own:
                    self.ray.shutdown()

    def _check_address(self) -> None:
        """Connect once: Ray itself would try again for a quarter of an hour."""
        host, _, port = (self.address or "").rpartition(":")
        if not port.isdecimal():
            return  # Ray knows other names for a cluster, such as `auto`
        try:
            create_connection((host.rpartition("/")[2], int(port)), timeout=CONNECT_TIMEOUT).close()
        except (OSError, OverflowError) as error:
            raise self._unreachable(str(error)) from error

    def _unreachable(self, detail: str) -> RankError:
        if self.address is None:
            return RankError(f"cannot start Ray on this machine: {detail}")
        return RankError(f"there is no Ray cluster at {self.address}: {detail}")

    def machines(self) -> list[Mapping[str, float]]:
        """List what each machine has, such as `{"CPU": 16.0, "GPU": 1.0}`."""
        return [node["Resources"] for node in self.ray.nodes() if node["Alive"]]


def require(module: str) -> Any:
    """Import a part of Ray.

    Raises:
        LoadError: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise LoadError("--executor ray requires Ray: pip install 'vitdecomp[ray]'") from error


def enter_directory(path: Path) -> None:
    """Make relative paths mean what they mean to the caller, if this machine has the caller's directory."""
    with suppress(OSError):
        os.chdir(path)


def last_line(error: BaseException) -> str:
    """Shorten one of Ray's errors to its last line, which names the cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]


def lost(detail: str) -> RankError:
    """Say that too much of a cluster was lost."""
    return RankError(f"Ray cannot go on: run the same command again ({detail})")
