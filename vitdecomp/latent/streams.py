"""The tokens in front of each layer and behind the last: values through which alone the image is seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import fx

from vitdecomp.attention.all_tokens import AllTokens, with_tokens
from vitdecomp.errors import SpecError
from vitdecomp.latent.partial_run import SIZE
from vitdecomp.trace.capture import Captured
from vitdecomp.trace.operations import packet
from vitdecomp.trace.rule import module_path, varies
from vitdecomp.trace.search import Search

BEFORE = 3  # values in front of an attention among which its layer's tokens are looked for


@dataclass(frozen=True)
class Streams:
    """The tokens of a model by layer.

    Attributes:
        inputs: of each layer; `None` where no one value holds all that the layer and the later ones read of the image.
        output: of the last layer.
        last: the last such value, which differs from the output at most in what acts on each token alone.
    """

    inputs: tuple[AllTokens | None, ...]
    output: AllTokens
    last: AllTokens

    @classmethod
    def of(cls, captured: Captured, firsts: Sequence[fx.Node], last: fx.Node) -> Streams:
        """Find them.

        Args:
            captured: the model's graph.
            firsts: the first attention of each layer.
            last: the last attention of the last layer.

        Raises:
            SpecError: no one value holds all tokens behind the last layer.
        """
        order = {node: i for i, node in enumerate(captured.module.graph.nodes)}
        cuts = list(_cuts(captured))
        later = set(Search([last], lambda node: node.users))
        behind = [node for node in cuts if node in later]
        before = [[node for node in cuts if order[node] < order[first]][-BEFORE:] for first in firsts]
        found = with_tokens(captured, {*behind, *(node for some in before for node in some)})
        known = {each.node: each for each in found}
        own = [known[node] for node in behind if node in known]
        whole = [e for e in own if (e.count, e.axes, e.rank) == (own[0].count, own[0].axes, own[0].rank)]
        if not whole:
            raise SpecError(
                f"latent tokens: behind {module_path(last)} no one value holds all that the representation reads of "
                "the image, so no token says anything by itself"
            )
        inputs = (next((known[node] for node in reversed(some) if node in known), None) for some in before)
        return cls(tuple(inputs), whole[0], whole[-1])


def _cuts(captured: Captured) -> Iterator[fx.Node]:
    """List the values of which the representation is a function, without the image."""

    def reads(node: fx.Node) -> Sequence[fx.Node]:
        return [] if packet(node) is SIZE else [i for i in node.all_input_nodes if varies(i)]

    needed = set(Search([captured.output], reads))
    left = {node: sum(user in needed and packet(user) is not SIZE for user in node.users) for node in needed}
    waiting = set[fx.Node]()  # values that nodes further on still read
    for node in captured.module.graph.nodes:
        if node in needed:
            for read in reads(node):
                left[read] -= 1
                if not left[read]:
                    waiting.discard(read)
            if not waiting:
                yield node
            waiting.add(node)
