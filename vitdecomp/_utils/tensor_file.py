"""Tensors and a JSON header in one safetensors file, with a checksum over both."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from vitdecomp._utils.checksum import checksum
from vitdecomp._utils.files import atomic
from vitdecomp._utils.schema import Versioned, from_json
from vitdecomp.errors import DamageError, InputError

H = TypeVar("H", bound=Versioned)
SEAL = re.compile(r', "sha256": "([0-9a-f]{64})"\}$')  # the last field of the header's JSON
# What safetensors raises of bytes that it cannot read, and of dtypes that this torch does not have.
UNREADABLE = (SafetensorError, OSError, AttributeError, LookupError, TypeError, ValueError, RuntimeError)


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


@dataclass(frozen=True, slots=True)
class TensorFormat(Generic[H]):
    """One kind of file.

    Attributes:
        key: of the header in the file's metadata, such as `vitdecomp.alignment`.
        noun: what such a file holds, for messages.
        header: the class of the header, as `schema.from_json` reads it.
        versions: that are known.
        remedy: what to do about a bad file, for messages.
        unverified: the versions that were written without a checksum. Any other needs one: a file does not become one
            without by a damaged name of it.
        legacy: the header's text from the metadata of a file from before there was the key; `None` if it is none.
    """

    key: str
    noun: str
    header: type[H]
    versions: tuple[int, ...]
    remedy: str
    unverified: tuple[int, ...] = ()
    legacy: Callable[[Mapping[str, str]], str | None] | None = None

    def write(self, path: Path, header: H, tensors: Mapping[str, Tensor]) -> None:
        """Write a file, whole or not at all.

        Raises:
            OutputError: it cannot be written.
        """
        text = json.dumps(asdict(header))
        # safetensors refuses tensors that share memory, as parametrized parameters do with their base.
        own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        data = save(own, {self.key: sealed(text, own)})
        with atomic(path) as partial:
            partial.write_bytes(data)

    def read(self, path: Path) -> TensorFile[H]:
        """Read a file, and compare its checksum.

        Raises:
            DamageError: it is damaged.
            InputError: there is no such file, or it holds something else.
        """
        with self._opened(path) as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        plain, seal = self._split(path, metadata)
        damaged = DamageError(f"{path} is damaged (its checksum does not fit its content): {self.remedy}")
        if seal is not None and seal != checksum(plain, tensors):
            raise damaged
        header = self._parse(path, plain)
        if seal is None and header.schema not in self.unverified:
            raise damaged
        return TensorFile(header, tensors, verified=seal is not None)

    def read_header(self, path: Path) -> H:
        """Read the header alone, without a look at the tensors: what it says is not verified.

        Raises:
            DamageError: the file is damaged.
            InputError: there is no such file, or it holds something else.
        """
        with self._opened(path) as file:
            metadata = file.metadata() or {}
        plain, _ = self._split(path, metadata)
        return self._parse(path, plain)

    def find(self, path: Path) -> TensorFile[H] | None:
        """Read a file of a cache; `None` if there is none, or a damaged one, since it can be made anew."""
        try:
            return self.read(path)
        except InputError:
            return None

    def _split(self, path: Path, metadata: Mapping[str, str]) -> tuple[str, str | None]:
        """Return the JSON of the header, and its checksum."""
        text = metadata.get(self.key) or (self.legacy and self.legacy(metadata))
        if text is None:
            raise InputError(f"{path} holds no {self.noun}: {self.remedy}")
        seal = SEAL.search(text)
        return (text, None) if seal is None else (text[: seal.start()] + "}", seal[1])

    def _parse(self, path: Path, plain: str) -> H:
        return from_json(plain, self.header, place=str(path), remedy=self.remedy, versions=self.versions)

    @contextmanager
    def _opened(self, path: Path) -> Iterator[Any]:
        """Open a file of safetensors; whatever is raised inside means that it is damaged."""
        if not path.is_file():
            raise InputError(f"there is no file {path}: {self.remedy}")
        try:
            with safe_open(path, framework="pt") as file:
                yield file
        except UNREADABLE as error:
            raise DamageError(f"{path} is damaged or holds no {self.noun} ({error}): {self.remedy}") from error


def sealed(text: str, tensors: Mapping[str, Tensor]) -> str:
    """Append the checksum of all that a file holds to a header's JSON, as its last field."""
    return f'{text[:-1]}, "sha256": "{checksum(text, tensors)}"}}'
