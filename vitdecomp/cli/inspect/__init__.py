"""`vitdecomp inspect`."""

from vitdecomp.cli.inspect.command import inspect

__all__ = ["inspect"]
