"""Real processes that import no library: children of a server that has imported them once.

Each has its own identity, streams, folder, environment and exit code, and can be killed as any other. How the command
is found and what it imports is for the few tests that start a Python of its own.
"""

import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Not Lance, which has threads and must not be forked.
LIBRARIES = ("torch.export", "torch._dynamo", "torch.distributed.launcher", "timm", "open_clip", "sklearn.linear_model")
STREAMS = "out", "err"
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload([*LIBRARIES])


class Fork:
    """A process that calls a function in place of a program; otherwise like one of `subprocess`."""

    def __init__(self, function: Callable[..., Any], *arguments: Any, cwd: Any = ".", **environment: str) -> None:
        self._folder, self._written = tempfile.mkdtemp(), ("", "")
        for name in STREAMS:
            Path(self._folder, name).touch()
        words = (self._folder, Path(cwd).resolve(), {**os.environ, **environment}, function, *arguments)
        self._process = SERVER.Process(target=_call, args=words)
        self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()

    def wait(self, timeout: float = 300) -> int | None:
        self._process.join(timeout)
        if self.returncode is None:
            self.kill()
            raise subprocess.TimeoutExpired(str(self._process), timeout)
        if (folder := Path(self._folder)).exists():
            self._written = tuple((folder / name).read_text() for name in STREAMS)
            shutil.rmtree(folder)
        return self.returncode

    def communicate(self, timeout: float = 300) -> tuple[str, str]:
        """Return what it has written, once it has ended."""
        self.wait(timeout)
        return self._written


def _call(streams: str, cwd: Path, environment: dict[str, str], function: Callable[..., Any], *words: Any) -> None:
    for number, name in enumerate(STREAMS, 1):
        os.dup2(os.open(Path(streams, name), os.O_WRONLY | os.O_APPEND), number)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    function(*words)


def command(*words: Any) -> None:
    """Be vitdecomp's command."""
    from vitdecomp.cli.main import main

    sys.argv = ["vitdecomp", *map(str, words)]
    main()


def source(text: str, *words: Any) -> None:
    """Be a program of Python."""
    sys.argv = ["-c", *map(str, words)]
    exec(text, {"__name__": "__main__"})


def torchrun(restarts: int, function: Callable[..., Any], *words: Any) -> None:
    """Be torchrun with two processes, by its own agent, which forks them."""
    from torch.distributed.launcher import LaunchConfig, elastic_launch

    config = LaunchConfig(
        1, 1, 2, rdzv_backend="c10d", rdzv_endpoint="localhost:0", max_restarts=restarts, start_method="fork"
    )
    elastic_launch(config, _rank)(function, *words)


def _rank(function: Callable[..., Any], *words: Any) -> None:
    try:
        function(*words)
    except SystemExit as ended:  # torchrun's agent waits for what a function returns
        if ended.code:
            raise
