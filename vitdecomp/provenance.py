"""Which model's vectors contributions are parts of, told by the weights and not by a name alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from vitdecomp._utils.checksum import digest
from vitdecomp._utils.schema import Name
from vitdecomp._utils.subclasses import plain_tensors
from vitdecomp.errors import InputError


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a representation comes from.

    One that was read from a file is a claim of that file. It is compared, and nothing is loaded by it.

    Attributes:
        model: the spec of the model.
        weights: their checksum.
        output: which vector of the model.
    """

    model: Name
    weights: Name
    output: Name = "embedding"

    @classmethod
    def of(cls, module: nn.Module, spec: str, output: str = "embedding") -> Origin:
        """Return the origin of a loaded model."""
        return cls(spec, weights_checksum(module), output)

    def check(self, other: Origin | None, what: str) -> None:
        """Raise `InputError` if something is known to come from elsewhere; `what` begins the message."""
        if other is None or (other.weights, other.output) == (self.weights, self.output):
            return
        same = " with other weights" if (other.model, other.output) == (self.model, self.output) else ""
        raise InputError(f"{what} {self.model} ({self.output}), not {other.model} ({other.output}){same}")


def weights_checksum(module: nn.Module) -> str:
    """Compute a checksum of all parameters and buffers, with their names and shapes.

    A float64 copy of a float32 model has the same: it is the same model.
    """

    def parts() -> Iterator[str | Tensor]:
        for name, tensor in sorted(module.state_dict().items()):
            for part, plain in plain_tensors(name, tensor) if isinstance(tensor, Tensor) else ():
                yield f"{part} {tuple(plain.shape)};"
                yield plain.cpu().float() if plain.is_floating_point() else plain

    return digest(parts())
