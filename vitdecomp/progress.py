"""How long work tells how far it is."""

from collections.abc import Callable
from contextlib import AbstractContextManager

Progress = Callable[[int, int], None]
"""Called with what is done and with how much there is."""

Stage = Callable[[str], AbstractContextManager[Progress]]
"""Makes a context around a part of the work, from its name; it gives what is called in that part."""
