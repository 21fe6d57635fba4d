"""Values of a model that hold all of its tokens, and what each token is."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, fx

from vitdecomp.component import Token
from vitdecomp.errors import SpecError
from vitdecomp.trace.axes.fields import Field
from vitdecomp.trace.axes.grids import find_grids
from vitdecomp.trace.axes.places import ConstantToken, Places
from vitdecomp.trace.axes.tokens import kinds_of
from vitdecomp.trace.capture import Captured
from vitdecomp.trace.rule import module_path, shape
from vitdecomp.trace.search import Search

BEHIND = 8  # values behind the last block among which all tokens are looked for


@dataclass(frozen=True)
class AllTokens:
    """A value that holds all tokens.

    Attributes:
        node: of the value. axes: of it, along which places in the input differ.
        field: the places of its elements, for one image. constants: the tokens that are parameters, as counted there.
    """

    node: fx.Node
    axes: tuple[int, ...]
    field: Field
    constants: tuple[ConstantToken, ...]

    @property
    def count(self) -> int:
        """How many tokens there are."""
        return torch.Size(self.field.seen.shape[axis] for axis in self.axes).numel()

    @property
    def image_axis(self) -> int:
        """The axis of images: the first one that is none of tokens."""
        return next(axis for axis in range(self.rank) if axis not in self.axes)

    def apart(self, x: Float[Tensor, "*axes"]) -> Float[Tensor, "n token *rest"]:
        """Bring images and tokens of such a value to the front."""
        front = tuple(range(len(self.axes) + 1))
        return x.movedim((self.image_axis, *self.axes), front).flatten(1, len(self.axes))

    def together(self, tokens: Float[Tensor, "n token *rest"], like: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
        """Bring images and tokens back to where they are in such a value."""
        front = tuple(range(len(self.axes) + 1))
        sizes = [like.shape[axis] for axis in self.axes]
        found: Tensor = torch.unflatten(tokens, 1, sizes).movedim(front, (self.image_axis, *self.axes))
        return found

    @property
    def rank(self) -> int:
        """How many axes the value has."""
        return self.field.seen.ndim

    def kinds(self, sizes: Sequence[int]) -> tuple[Token, ...]:
        """Tell what each token is.

        Args:
            sizes: of an input.
        """
        f = self.field
        seen, constant, number, *at = map(self._by_token, (f.seen, f.constant, f.number, *f.at))
        patch = seen > 0.5
        grid = find_grids({0: torch.stack(at, -1)[patch]}, sizes).get(0)
        order = [*dict.fromkeys(number[constant > 0.5].round().long().tolist())]
        named = dict(zip(order, kinds_of(order, self.constants, order[:1]), strict=True))
        cells = iter([] if grid is None else torch.stack([lines.of for lines in grid.lines], 1).tolist())
        return tuple(
            Token.patch(next(cells), grid.size)
            if patch[i] and grid is not None
            else Token(named.get(round(float(number[i])), "other"))
            for i in range(len(seen))
        )

    def _by_token(self, x: Tensor) -> Tensor:
        """Return the value of each token; along all other axes it is the same."""
        rest = [axis for axis in range(x.ndim) if axis not in self.axes]
        for axis in reversed(rest):
            x = x.select(axis, 0)
        return x.flatten()


def with_tokens(captured: Captured, nodes: Collection[fx.Node]) -> list[AllTokens]:
    """Find those of some values, in the order of the graph, that have axes of tokens."""
    places = Places(captured, set(nodes))
    found = []
    for node in captured.module.graph.nodes:
        axes = _token_axes(places.fields[node]) if node in nodes and node in places.fields else ()
        if axes and _has_image_axis(places.fields[node], axes, places.images):
            found.append(AllTokens(node, axes, places.fields[node], tuple(places.constants)))
    return found


def tokens_behind(captured: Captured, node: fx.Node) -> AllTokens:
    """Find the first value with tokens, at a node or behind it: behind class attention the patches join its token.

    Raises:
        SpecError: there is none.
    """
    later = set(Search([node], lambda each: each.users))
    candidates = [each for each in captured.module.graph.nodes if each in later and len(shape(each)) > 2][:BEHIND]
    found = with_tokens(captured, candidates)
    if not found:
        raise SpecError(f"the tokens of {module_path(node) or 'the model'} have no places in the input")
    return found[0]


def _token_axes(field: Field) -> tuple[int, ...]:
    told = [field.number, *field.at]
    return tuple(a for a in range(field.seen.ndim) if any(_differs(values, a) for values in told))


def _has_image_axis(field: Field, axes: tuple[int, ...], images: int) -> bool:
    """Check whether images have an axis of their own; attention along frames alone has them on one with patches."""
    rest = [size for axis, size in enumerate(field.seen.shape) if axis not in axes]
    return rest[:1] == [images]


def _differs(values: Tensor, axis: int) -> bool:
    return bool((values - values.narrow(axis, 0, 1)).abs().max() > 0.5)
