"""A trial run of a model: what each module read and returned, noted on a twin, so that the model stays as it is."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitdecomp._utils.hub import quiet

TRIAL_IMAGES = 2
Node = Any  # torch's nodes of the autograd graph have no public type


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a module.

    Attributes:
        path: of the module. kind: its type.
        reads_vector: whether it reads one vector per image, `(n, d)`, and nothing else.
        read, made: nodes of its only input and of its output in the autograd graph, `None` where there is none.
        rows: how many rows per image an output `(n, rows, d)` has, 0 for any other.
        constant: of these, the ones that are the same for both images: class tokens, registers, queries.
    """

    path: str
    kind: type
    reads_vector: bool
    read: Node | None
    made: Node | None
    rows: int
    constant: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Trial:
    """What came out of a trial run.

    Attributes:
        images: what it was given. output: of the model. calls: of its modules, in the order in which they ended.
    """

    images: Tensor
    output: Any
    calls: tuple[Call, ...]


def trial(module: nn.Module, images: Tensor, run: Callable[[Any, Tensor], Any]) -> Trial:
    """Run a twin of a module in evaluation mode, with the module's own weights.

    Raises:
        Exception: whatever the module raises.
    """
    copied, calls = twin(module).eval(), list[Call]()
    for path, part in copied.named_modules():
        part.register_forward_hook(partial(_note, calls, path), with_kwargs=True)
    with recording(images.device):
        watched = images.detach().clone().requires_grad_()
        output = run(copied, watched)
    return Trial(watched, output, tuple(calls))


def twin(module: nn.Module) -> nn.Module:
    """Copy a module and all its parts, sharing every tensor with it."""
    shared: dict[int, Any] = {}
    for part in module.modules():
        for table in (part._parameters, part._buffers, vars(part)):
            shared |= {id(value): value for value in table.values() if isinstance(value, Tensor)}
    return copy.deepcopy(module, shared)


def trial_images(module: nn.Module, shape: Sequence[int]) -> Float[Tensor, "n *image"]:
    """Two different images, or other inputs, of a shape, where the module's weights are."""
    weights = [p for p in module.parameters() if p.is_floating_point()]
    source = torch.Generator().manual_seed(0)
    images = torch.randn(TRIAL_IMAGES, *shape, generator=source, device="cpu", dtype=torch.float32)
    return images.to(weights[0].device, weights[0].dtype) if weights else images


@contextmanager
def recording(device: torch.device) -> Iterator[None]:
    """Build the autograd graph for its structure alone: no values are kept, no random state is moved."""
    devices = [device.index or 0] if device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices),
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autograd.graph.saved_tensors_hooks(_forget, _forget),
        warnings.catch_warnings(),
        quiet(),
    ):
        warnings.simplefilter("ignore")
        yield


def behind(starts: Sequence[Node]) -> Iterator[Node]:
    """Yield all nodes of the autograd graph that some nodes are computed from, these included."""
    waiting, seen = [node for node in starts if node is not None], set[Node]()
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            yield node
            waiting += [before for before, _ in node.next_functions if before is not None]


def _forget(_: Any) -> Any:
    return None


def _note(
    calls: list[Call],
    path: str,
    module: nn.Module,
    arguments: Sequence[Any],
    keywords: Mapping[str, Any],
    output: Any,
) -> None:
    read = [value for value in (*arguments, *keywords.values()) if isinstance(value, Tensor)]
    made = output if isinstance(output, Tensor) else None
    rows, constant = _rows(made)
    calls.append(
        Call(
            path,
            type(module),
            len(read) == 1 and read[0].ndim == 2 and is_vector(read[0]),
            read[0].grad_fn if len(read) == 1 else None,
            None if made is None else made.grad_fn,
            rows,
            constant,
        )
    )


def is_vector(value: Any) -> bool:
    """Check whether a value is one vector per image of the trial, `(n, d)` or `(n, d, 1, 1)`."""
    return (
        isinstance(value, Tensor)
        and value.is_floating_point()
        and value.ndim >= 2
        and len(value) == TRIAL_IMAGES
        and prod(value.shape[2:]) == 1
    )


def _rows(made: Tensor | None) -> tuple[int, tuple[int, ...]]:
    if made is None or made.ndim != 3 or len(made) != TRIAL_IMAGES:
        return 0, ()
    same = (made[0] == made[1]).all(-1)
    return made.shape[1], tuple(int(row) for row in same.nonzero())
