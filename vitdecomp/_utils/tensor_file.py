"""Tensors and a JSON header in one safetensors file, with a checksum over both."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Generic, TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from vitdecomp._utils.checksum import checksum
from vitdecomp._utils.schema import Versioned, from_json
from vitdecomp.errors import InputError
from vitdecomp.files import atomic

CHECKSUM = "sha256"  # key of the metadata
# What safetensors raises of bytes that it cannot read, and of dtypes that this torch does not have.
UNREADABLE = (SafetensorError, OSError, AttributeError, LookupError, TypeError, ValueError, RuntimeError)


H = TypeVar("H", bound=Versioned)


@dataclass(frozen=True, slots=True)
class TensorFile(Generic[H]):
    """What a file holds.

    Attributes:
        header: the record.
        tensors: by name.
        verified: whether a checksum was compared; files of earlier versions may have none.
    """

    header: H
    tensors: dict[str, Tensor]
    verified: bool


def write(path: Path, content: str, header: Versioned, tensors: Mapping[str, Tensor]) -> None:
    """Write a file, whole or not at all.

    Args:
        path: of the file.
        content: what the file holds, such as `vitdecomp.alignment`: the header's key in the metadata.
        header: a data class of plain values, as `schema.from_json` reads it.
        tensors: by name.

    Raises:
        OutputError: it cannot be written.
    """
    text = json.dumps(asdict(header))
    # safetensors refuses tensors that share memory, as parametrized parameters do with their base.
    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    data = save(own, {content: text, CHECKSUM: checksum(text, own)})
    with atomic(path) as partial:
        partial.write_bytes(data)


def read(
    path: Path,
    content: str,
    kind: type[H],
    *,
    versions: Collection[int],
    unverified: Collection[int] = (),
    remedy: str,
) -> TensorFile[H]:
    """Read a file, and compare its checksum.

    Args:
        path: of the file.
        content: as for `write`.
        kind: the class of the header.
        versions: of the format, that are known.
        unverified: those among them which were written without a checksum. Any other needs one: a damaged name of the
            checksum does not make a file one without.
        remedy: what to do about a bad file, for messages.

    Raises:
        InputError: there is no such file, it is damaged, or it holds something else.
    """
    text, told, tensors = _content(path, content, remedy)
    damaged = InputError(f"{path} is damaged (its checksum does not fit its content): {remedy}")
    if told is not None and told != checksum(text, tensors):
        raise damaged
    header = from_json(text, kind, place=str(path), remedy=remedy, versions=versions)
    if told is None and header.schema not in unverified:
        raise damaged
    return TensorFile(header, tensors, verified=told is not None)


def _content(path: Path, content: str, remedy: str) -> tuple[str, str | None, dict[str, Tensor]]:
    """The text of the header, the checksum if there is one, and the tensors."""
    if not path.is_file():
        raise InputError(f"there is no file {path}: {remedy}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except UNREADABLE as error:
        raise InputError(f"{path} is damaged or no safetensors file ({error}): {remedy}") from error
    if content not in metadata:
        raise InputError(f"{path} holds no {content}: {remedy}")
    return metadata[content], metadata.get(CHECKSUM), tensors
