"""Which operands an operation is linear in: one file per family of operations."""

from vitdecomp.trace.rules import (
    activation,
    arithmetic,
    attention,
    merge,
    norm,
    parametric,
    pool,
    reshape,
    scatter,
    slicing,
    spectral,
)

__all__ = [
    "activation",
    "arithmetic",
    "attention",
    "merge",
    "norm",
    "parametric",
    "pool",
    "reshape",
    "scatter",
    "slicing",
    "spectral",
]
