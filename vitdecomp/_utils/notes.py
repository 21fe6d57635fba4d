"""What the library has to say of its input: log records, which a command prints on stderr."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from vitdecomp._utils.console import printable

PACKAGES = ("vitdecomp", "vitdecomp_adapters", "vitdecomp_alignment")


class _Notes(logging.Handler):
    """Prints each note once."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.told: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Print one on a line of its own."""
        text = printable(" ".join(record.getMessage().split()))
        if text not in self.told:
            self.told.add(text)
            typer.echo(f"note: {text}", err=True)


@contextmanager
def notes_on_stderr() -> Iterator[None]:
    """Print what is logged in our packages while this lasts; what was set up for logging is put back afterwards."""
    loggers, handler = [logging.getLogger(name) for name in PACKAGES], _Notes()
    before = [logger.propagate for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.propagate = False  # or a library that has set up the root logger would print it again
    try:
        yield
    finally:
        for logger, propagate in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.propagate = propagate
