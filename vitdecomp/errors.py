"""What can go wrong, said in one line: what, where, and what to do next."""

from __future__ import annotations


class VitdecompError(Exception):
    """Base of every error that vitdecomp raises on purpose; the command line turns it into exit code 2."""


class SpecError(VitdecompError, ValueError):
    """A model spec, a name or a pattern that means nothing here."""


class InputError(VitdecompError, ValueError):
    """Images (or directions) of the wrong type, shape, size or content."""


class DamageError(InputError):
    """A file that is not what was written: its checksum differs, or it is cut off, or missing."""


class OutputError(VitdecompError, OSError):
    """A result that cannot be written, or a place that already holds another result."""


class LoadError(VitdecompError, RuntimeError):
    """A model or its weights that cannot be had."""


class RankError(VitdecompError, RuntimeError):
    """A process of the same run that is gone."""


class TraceError(VitdecompError, RuntimeError):
    """A model whose graph cannot be captured, or whose captured graph differs from the model."""


class NoRuleError(VitdecompError, LookupError):
    """An operation on a linear path that no rule knows.

    Attributes:
        op, module, node: the operation, the path of the module that calls it, and its name in the graph.
        line: of the code that calls it, empty if unknown. stub: a rule to begin with, empty if there is none.
    """

    def __init__(self, op: str, module: str, node: str, line: str = "", stub: str = "") -> None:
        super().__init__(
            f"no rule for {op} at {module or 'the model itself'} ({f'{line}; ' if line else ''}node {node}). "
            "Add one with @vitdecomp.register_rule(...): docs/how-to/rule.md"
        )
        self.op, self.module, self.node, self.line, self.stub = op, module, node, line, stub


class InexactError(VitdecompError, ArithmeticError):
    """A sum of contributions that misses the representation by more than the tolerance of its dtype."""


class CoverageError(VitdecompError, LookupError):
    """A decomposition without a single component that depends on the input."""
