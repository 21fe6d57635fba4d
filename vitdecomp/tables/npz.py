"""Arrays in an .npz file, written a part at a time, and without pickle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
from numpy.lib import format as npy

from vitdecomp._utils.files import atomic


@dataclass(frozen=True, slots=True)
class ArrayParts:
    """An array whose rows come in parts.

    Attributes:
        shape: of the whole. dtype: no objects, which would be pickled. parts: its rows, in order.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    parts: Iterable[np.ndarray]

    def __post_init__(self) -> None:
        """Refuse objects."""
        if self.dtype.hasobject:
            raise ValueError(f"an array of {self.dtype}: objects would be pickled")

    @classmethod
    def of(cls, array: np.ndarray) -> ArrayParts:
        """Take an array that is there as a whole."""
        return cls(array.shape, array.dtype, (array,))


def write_npz(path: Path, arrays: Mapping[str, ArrayParts]) -> None:
    """Write arrays, whole or not at all; `numpy.load(path, allow_pickle=False)` reads them.

    Raises:
        OutputError: the file cannot be written.
    """
    with atomic(path) as partial, ZipFile(partial, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                told = {"descr": npy.dtype_to_descr(array.dtype), "fortran_order": False, "shape": array.shape}
                npy.write_array_header_2_0(file, told)
                for part in array.parts:
                    file.write(np.ascontiguousarray(part, dtype=array.dtype).data.cast("B"))
