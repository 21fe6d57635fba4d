"""`edit_tokens`: a model of which some tokens are removed, replaced or exchanged on the way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vitdecomp._utils.modes import in_neutral_mode
from vitdecomp.decompose import Decomposer
from vitdecomp.errors import InputError, SpecError
from vitdecomp.latent.action import Action
from vitdecomp.latent.edit import Edit
from vitdecomp.latent.edited_module import EditedModule
from vitdecomp.latent.numbers import chosen
from vitdecomp.latent.selection import Rule, Selection
from vitdecomp.latent.sweep import Sweep
from vitdecomp.models.adapter import LoadedModel


@dataclass(frozen=True)
class EditConfig:
    """What a user has asked for.

    Attributes:
        action: what is done.
        where: to which tokens; of a swap, two selections.
        layers: in front of which blocks.
        others: images whose tokens are taken.
    """

    action: Action
    where: tuple[Selection, ...]
    layers: tuple[int, ...]
    others: Tensor | None = None

    def edit(self, decomposer: Decomposer) -> Edit:
        """Check it against a model, and encode its texts.

        Raises:
            SpecError: no such layer; tokens of this model cannot be edited; or nobody reads the texts.
        """
        sweep = Sweep.of(decomposer)
        layers = tuple(chosen(self.layers, len(sweep.layers) + 1, "layer"))
        for layer in layers:
            sweep.stream(layer)
        where = tuple(each if isinstance(each, Tensor) else each.rule(decomposer) for each in self.where)
        chosen([0, *(each.layer for each in where if isinstance(each, Rule))], len(sweep.layers) + 1, "layer")
        return Edit(self.action, layers, where)


class Edited:
    """Images to representations, with some tokens changed on the way. The model itself is left as it is.

    As a context manager it ends with the `with` block, and cannot be called any more.

    Args:
        model: a spec, a module, a `LoadedModel`, or a fitted `Decomposer`.
        config: what is asked for.
    """

    def __init__(self, model: nn.Module | LoadedModel | Decomposer | str, config: EditConfig) -> None:
        self.model, self.config = model, config
        self._ended = False
        self._traced = (model, config.edit(model)) if isinstance(model, Decomposer) else None

    @in_neutral_mode
    def __call__(self, images: Float[Tensor, "n *image"]) -> Float[Tensor, "n d"]:
        """Compute the representations of n images. The first ones are what the model is traced on, if it is not yet.

        Raises:
            InputError: images unlike those that the model was traced with, or a mask for others.
            SpecError: the edit has ended, or has no meaning for the model.
        """
        decomposer, edit = self._ready(images)
        others = self._others(decomposer, len(images))
        found = []
        for some, rows in self._portions(decomposer, images):
            taken = others if others is None or len(others) == 1 else others[rows]
            sweep = Sweep.of(decomposer)
            found.append(edit.run(sweep, some, edit.masks(sweep, some, rows, len(images)), taken))
        return torch.cat(found)

    @in_neutral_mode
    def mask(self, images: Float[Tensor, "n *image"]) -> Bool[Tensor, "n token"]:
        """Return which tokens of the images are edited.

        Raises:
            InputError: images unlike those that the model was traced with, or a mask for others.
            SpecError: the edit has ended, or has no meaning for the model.
        """
        decomposer, edit = self._ready(images)
        masks = (
            edit.masks(Sweep.of(decomposer), some, rows, len(images))
            for some, rows in self._portions(decomposer, images)
        )
        return torch.cat([torch.stack(each).any(0) for each in masks])

    def module(self) -> EditedModule:
        """Build a module that does the same, with copies of the weights, and that can be saved.

        Raises:
            SpecError: the model is not traced yet; or the edit depends on more than the image.
        """
        if self._traced is None:
            raise SpecError("the model is not traced yet: call this on images first, or give a fitted Decomposer")
        decomposer, edit = self._traced
        decomposer.chosen(())  # whose weights may have changed since
        return EditedModule.of(decomposer.views.paths, edit)

    def _ready(self, images: Tensor) -> tuple[Decomposer, Edit]:
        if self._ended:
            raise SpecError("the edit has ended with its with block: call edit_tokens again")
        if self._traced is None:
            assert not isinstance(self.model, Decomposer)
            decomposer = Decomposer(self.model).fit(images[:1])
            self._traced = decomposer, self.config.edit(decomposer)
        return self._traced

    def _others(self, decomposer: Decomposer, n: int) -> Tensor | None:
        """Return the images whose tokens are taken, one or n.

        Raises:
            InputError: another number, or unlike those that the model was traced with.
        """
        if self.config.others is None:
            return None
        others = decomposer.checked(self.config.others)
        if len(others) not in (1, n):
            raise InputError(f"replace: {len(others)} other images for {n}: give one, or one for each")
        return others

    @staticmethod
    def _portions(decomposer: Decomposer, images: Tensor) -> Iterator[tuple[Tensor, slice]]:
        """Split images, with their places."""
        start = 0
        for some in decomposer.views.recorder(()).portions(decomposer.checked(images)):
            yield some, slice(start, start + len(some))
            start += len(some)

    def __enter__(self) -> Edited:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = True


def edit_tokens(
    model: nn.Module | LoadedModel | Decomposer | str,
    *,
    remove: Selection | None = None,
    replace: tuple[Selection, Tensor] | None = None,
    swap: tuple[Selection, Selection] | None = None,
    layers: Sequence[int] = (0,),
) -> Edited:
    """Change tokens of a model on the way: one of `remove`, `replace` and `swap`.

    Tokens are numbered as in `LatentTokens.tokens_`. In earlier stages of hierarchical models, a token stands for all
    that are merged into it.

    Args:
        model: a spec, a module, a `LoadedModel`, or a fitted `Decomposer`, which saves the time to trace.
        remove: tokens that are set to zero: a mask, `(token,)` or `(n, token)`; `Named` or `Similar`.
        replace: such a selection, and other images, one or n, whose tokens take the place of those selected.
        swap: two such selections, which are exchanged.
        layers: in front of which blocks; the number of blocks stands for behind the last.

    Raises:
        SpecError: none or several of the three; of a fitted model also: no such layer, tokens that cannot be edited,
            or texts that nobody reads. Of others, the first call raises these.
    """
    given = {"remove": remove, "replace": replace, "swap": swap}
    asked = [action for action, what in given.items() if what is not None]
    if len(asked) != 1:
        raise SpecError(f"edit_tokens takes one of remove=, replace= and swap=, not {' and '.join(asked) or 'none'}")
    numbers = tuple(layers)
    if replace is not None:
        return Edited(model, EditConfig("replace", replace[:1], numbers, replace[1]))
    if swap is not None:
        return Edited(model, EditConfig("swap", swap, numbers))
    assert remove is not None
    return Edited(model, EditConfig("remove", (remove,), numbers))
