"""Where a training was interrupted, on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from vitdecomp._utils.files import check_file
from vitdecomp._utils.schema import Count, Versioned
from vitdecomp._utils.tensor_file import TensorFormat
from vitdecomp.errors import OutputError

SCHEMA = 1
UNVERIFIED = 0  # the version before there was a checksum
REMEDY = "delete it, or give another file"


@dataclass(slots=True)
class State:
    """Where a training stands, beside its parameters.

    Attributes:
        step: batches done. best: the least smoothed loss. since: evaluations since then.
        history: a row for each evaluation: step, training, validation and smoothed loss. running: losses since then.
    """

    step: Count = 0
    best: float = float("inf")
    since: Count = 0
    history: list[dict[str, float]] = field(default_factory=list)
    running: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Header(Versioned):
    """The header of a file: which training, and where it stands."""

    training: str
    state: State


def _legacy(metadata: Mapping[str, str]) -> str | None:
    """Read the header of a file of the first version, which had two keys."""
    if not metadata.keys() >= {"training", "values"}:
        return None
    head = json.dumps({"schema": UNVERIFIED, "training": metadata["training"]})
    return f'{head[:-1]}, "state": {metadata["values"]}}}'


FORMAT = TensorFormat(
    "vitdecomp.training",
    "checkpoint",
    Header,
    versions=(UNVERIFIED, SCHEMA),
    remedy=REMEDY,
    unverified=(UNVERIFIED,),
    legacy=_legacy,
)


class Checkpoint:
    """A file with tensors and plain values, of one training alone.

    Args:
        path: of the file.
        training: what tells it from any other: the settings, the data.

    Raises:
        OutputError: the file cannot be written.
    """

    def __init__(self, path: Path, training: str) -> None:
        check_file(path)
        self.path, self.training = path, training

    def write(self, tensors: Mapping[str, Tensor], state: State) -> None:
        """Replace what the file holds.

        Raises:
            OutputError: it cannot be written.
        """
        FORMAT.write(self.path, Header(SCHEMA, self.training, state), tensors)

    def read(self) -> tuple[dict[str, Tensor], State] | None:
        """Read what was written last, or `None` if there is no file.

        Raises:
            InputError: the file is damaged, or no checkpoint.
            OutputError: it is of another training.
        """
        if not self.path.exists():
            return None
        file = FORMAT.read(self.path)
        if file.header.training != self.training:
            raise OutputError(f"{self.path} is of another training (other data or settings): {REMEDY}")
        return file.tensors, file.header.state

    def check(self, tensors: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]]) -> None:
        """Raise `OutputError` unless there are tensors of these names and shapes, and no others."""
        found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        for name in sorted(found.keys() | wanted.keys()):
            if found.get(name) != wanted.get(name):
                raise OutputError(
                    f"{self.path} does not fit this training: {name} of shape {found.get(name)} instead of "
                    f"{wanted.get(name)}; {REMEDY}"
                )
