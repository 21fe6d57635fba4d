"""The read-out: what the model makes of a sequence that consists of one token alone."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, fx

from vitdecomp._utils.tolerance import TOLERANCE, relative_error
from vitdecomp.attention.all_tokens import AllTokens
from vitdecomp.latent.partial_run import SIZE, PartialRun
from vitdecomp.trace.capture import Captured
from vitdecomp.trace.operations import packet
from vitdecomp.trace.rule import shape, varies
from vitdecomp.trace.search import Search

aten = torch.ops.aten
SIZED = {aten.view, aten.reshape, aten._unsafe_view, aten.view_copy}
RESHAPES = SIZED | {aten.flatten, aten.unflatten}
SHORTER = {aten.select, aten.slice, aten.narrow}
TRIED = 5  # tokens on which the two ways are compared; not as many as images in the trial run
ROOM = 2**27  # numbers in sequences at a time, where tokens are repeated


class ReadOut:
    """From tokens to vectors of the representation's space, each token alone.

    The vector of a token is what the model behind its last block returns for a sequence in which every token is this
    one: the class token or the mean is then this token; a pool that attends to tokens (SigLIP) sees nothing else.
    Where that is the same, sequences of one token are run instead; whether it is, is tried on random tokens.

    Args:
        captured: the model's graph.
        tokens: the value with all tokens behind the last block.
    """

    def __init__(self, captured: Captured, tokens: AllTokens) -> None:
        self.captured, self.all_tokens, self.node, self.axes = captured, tokens, tokens.node, tokens.axes
        self.sizes = tuple(shape(self.node)[axis] for axis in self.axes)
        self.computed = frozenset(Search([captured.output], self._reads))
        self.short = self._agree()

    def _reads(self, node: fx.Node) -> Sequence[fx.Node]:
        if node is self.node or packet(node) is SIZE:
            return ()
        return node.all_input_nodes

    def __call__(self, x: Float[Tensor, "*axes"], chosen: Sequence[int]) -> Float[Tensor, "n token d"]:
        """Read some tokens of a value, each alone.

        Args:
            x: the value, of any number of images.
            chosen: the numbers of the tokens.
        """
        tokens = self.all_tokens.apart(x)[:, chosen]
        n, count = tokens.shape[:2]
        found = self._read(tokens.flatten(0, 1), short=self.short)
        return torch.unflatten(found, 0, (n, count))

    def _read(self, tokens: Float[Tensor, "m *rest"], *, short: bool) -> Float[Tensor, "m d"]:
        """Read tokens, each in a sequence of its own."""
        most = len(tokens) if short else max(1, ROOM // (prod(self.sizes) * tokens[0].numel()))
        return torch.cat(
            [_Behind(self, some, short=short).value(self.captured.output) for some in torch.split(tokens, most)]
        )

    def sequences(self, tokens: Float[Tensor, "m *rest"], sizes: Sequence[int]) -> Tensor:
        """Repeat each token along the axes of tokens."""
        ones = tokens.reshape(len(tokens), *[1] * len(sizes), *tokens.shape[1:])
        return ones.expand(-1, *sizes, *[-1] * (tokens.ndim - 1)).movedim(
            tuple(range(len(sizes) + 1)), (self.all_tokens.image_axis, *self.axes)
        )

    def _agree(self) -> bool:
        """Check whether sequences of one token lead to the same as sequences of many that are alike."""
        rest = self.all_tokens.apart(torch.empty(shape(self.node))).shape[2:]
        source = torch.Generator().manual_seed(0)
        like = self.captured.trial
        tokens = torch.randn(TRIED, *rest, generator=source, dtype=torch.float64).to(like)
        long = self._read(tokens, short=False)
        try:
            short = self._read(tokens, short=True)
        except (IndexError, RuntimeError, TypeError, ValueError):  # an operation that needs all tokens
            return False
        return short.shape == long.shape and float(relative_error(short, long).max()) <= TOLERANCE[long.dtype]


class _Behind(PartialRun):
    """The model behind its tokens on sequences of equal tokens, all of them or one in the place of all."""

    def __init__(self, read_out: ReadOut, tokens: Tensor, *, short: bool) -> None:
        sizes = [1] * len(read_out.sizes) if short else read_out.sizes
        given = {read_out.node: read_out.sequences(tokens, sizes)}
        super().__init__(read_out.captured, read_out.computed, given, len(tokens))
        self.short = short

    def run_node(self, n: fx.Node) -> Any:
        """Run one node."""
        return self._of_one(n) if self.short and varies(n) else super().run_node(n)

    def _of_one(self, n: fx.Node) -> Any:
        """Run one node where one token stands for all."""
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        if packet(n) in SHORTER and self._has_one(n, args):
            return args[0].select(args[1], 0) if packet(n) is aten.select else args[0]
        sizes = args[1] if packet(n) in SIZED else ()
        if packet(n) in RESHAPES and (packet(n) not in SIZED or prod(sizes) != args[0].numel()):
            return args[0].reshape(regrouped(shape(n.all_input_nodes[0]), shape(n), args[0].shape))
        return self.call_function(n.target, args, kwargs)

    def _has_one(self, n: fx.Node, args: tuple[Any, ...]) -> bool:
        """Check whether one token stands for all of those that an operation chooses from."""
        axis = args[1] if len(args) > 1 else 0
        return bool(args[0].shape[axis] == 1 < shape(n.args[0])[axis])  # type: ignore[arg-type]


def regrouped(before: Sequence[int], after: Sequence[int], now: Sequence[int]) -> list[int]:
    """Return the shape behind a reshape for other sizes of some axes: axes that are split or merged are so again.

    Args:
        before: the shape before the reshape, in the run that is known.
        after: the shape behind it in that run.
        now: the shape before it here.

    Raises:
        ValueError: an axis that is split has another size.
    """
    found, i, j = list[int](), 0, 0
    while i < len(before) and j < len(after):
        start, first, left, right = i, j, before[i], after[j]
        i, j = i + 1, j + 1
        while left != right:
            if left < right:
                left, i = left * before[i], i + 1
            else:
                right, j = right * after[j], j + 1
        found += _scaled(after[first:j], prod(now[start:i]))
    return [*found, *after[j:]]


def _scaled(sizes: Sequence[int], total: int) -> list[int]:
    """Scale one of several sizes, the first that can be, so that their product is another one."""
    whole = prod(sizes)
    if total == 1:
        return [1] * len(sizes)
    axis = next((i for i, size in enumerate(sizes) if size * total % whole == 0 and size > 1), None)
    if axis is None:
        raise ValueError(f"sizes {tuple(sizes)} cannot be scaled to {total}")
    return [size * total // whole if i == axis else size for i, size in enumerate(sizes)]
