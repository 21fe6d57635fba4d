"""`vitdecomp ablate`."""

from vitdecomp.cli.ablate.command import ablate

__all__ = ["ablate"]
