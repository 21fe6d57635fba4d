"""What is done to the tokens of a model on the way, as numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor, fx

from vitdecomp.attention.all_tokens import AllTokens
from vitdecomp.errors import InputError
from vitdecomp.latent.action import ACTIONS, Action
from vitdecomp.latent.places import NONE, parents
from vitdecomp.latent.selection import Rule
from vitdecomp.latent.sweep import Sweep
from vitdecomp.trace.capture import Captured

Change = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Edit:
    """What is done to which tokens, in front of which blocks.

    Attributes:
        action: what is done. layers: in front of which blocks.
        where: the tokens; of a swap, two sets of them. A mask is `(token,)`, for all images, or `(n, token)`.
    """

    action: Action
    layers: tuple[int, ...]
    where: tuple[Tensor | Rule, ...]

    def masks(self, sweep: Sweep, images: Tensor, rows: slice, total: int) -> list[Bool[Tensor, "n token"]]:
        """Select the tokens of some images.

        Args:
            sweep: of the model.
            images: as the model takes them.
            rows: their places among all images.
            total: how many there are.

        Raises:
            InputError: a mask for other images or tokens.
        """
        found = []
        for where in self.where:
            if isinstance(where, Rule):
                found.append(where.mask(sweep, images))
                continue
            count = len(sweep.token_kinds)
            if where.dtype != torch.bool or where.shape not in ((count,), (total, count)):
                raise InputError(
                    f"a mask must be boolean, ({count},) or ({total}, {count}), not {where.dtype} {tuple(where.shape)}"
                )
            found.append(where.to(images.device).expand(total, count)[rows])
        return found

    def run(self, sweep: Sweep, images: Tensor, masks: Sequence[Tensor], others: Tensor | None) -> Tensor:
        """Compute the representations.

        Args:
            sweep: of the model.
            images: as the model takes them.
            masks: as `masks` returns them.
            others: images whose tokens are taken instead; one for each or one for all.
        """
        streams = {layer: sweep.stream(layer) for layer in self.layers}
        nodes = {stream.node for stream in streams.values()}
        own = {} if others is None else sweep.own(nodes, others)
        changes = {s.node: self._change(sweep, s, masks, own.get(s.node)) for s in streams.values()}
        with torch.no_grad():
            found: Any = _EditedRun(sweep.captured, changes).run(images)
        result: Tensor = found[0] if isinstance(found, (tuple, list)) else found
        return result

    def _change(self, sweep: Sweep, stream: AllTokens, masks: Sequence[Tensor], other: Tensor | None) -> Change:
        parent = parents(stream.kinds(sweep.captured.trial.shape[1:]), sweep.token_kinds)
        taken = None if other is None else stream.apart(other)

        def change(x: Tensor) -> Tensor:
            here = [mask[:, parent] & (parent != NONE).to(mask.device) for mask in masks]
            return stream.together(ACTIONS[self.action](stream.apart(x), here, taken), x)

        return change


class _EditedRun(fx.Interpreter):
    """The model's run, in which the values of some nodes are changed."""

    def __init__(self, captured: Captured, changes: Mapping[fx.Node, Change]) -> None:
        super().__init__(captured.module)
        self.changes = changes

    def run_node(self, n: fx.Node) -> Any:
        """Run one node, and change its value."""
        value = super().run_node(n)
        return self.changes[n](value) if n in self.changes else value
