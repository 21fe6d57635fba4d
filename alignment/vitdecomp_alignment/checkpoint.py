"""Where a training was interrupted, on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from vitdecomp.errors import OutputError
from vitdecomp.files import atomic, check_file


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

    def write(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Replace what the file holds.

        Raises:
            OutputError: it cannot be written.
        """
        header = {"training": self.training, "values": json.dumps(values)}
        # Parametrized parameters may share memory with their base, which safetensors refuses.
        data = save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}, header)
        with atomic(self.path) as partial:
            partial.write_bytes(data)

    def read(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """What was written last, or `None` if there is no file.

        Raises:
            OutputError: the file holds something else.
        """
        if not self.path.exists():
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                header = file.metadata() or {}
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
        except (OSError, SafetensorError) as error:
            raise OutputError(f"{self.path} is no checkpoint ({error}): delete it, or give another file") from error
        if header.get("training") != self.training:
            raise OutputError(
                f"{self.path} is of another training (other data or settings): delete it, or give another file"
            )
        return tensors, json.loads(header["values"])
