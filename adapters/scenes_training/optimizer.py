"""How the weights are learned: Muon for the matrices of the blocks, AdamW for everything else.

Muon makes all directions of a step equally long (Jordan et al., "Muon: An optimizer for hidden layers in neural
networks", 2024). A small transformer sees shapes only after a long plateau, and leaves it in half as many steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from scenes_training.recipes import Recipe

Named = Iterable[tuple[str, nn.Parameter]]


class Optimizer:
    """Both optimizers as one, with a learning rate that rises and falls.

    Args:
        learned: the parameters, by name.
        recipe: rates, decay and warm-up.
    """

    def __init__(self, learned: Named, recipe: Recipe) -> None:
        self.learned, self.recipe = dict(learned), recipe
        matrices = [p for name, p in self.learned.items() if _in_block(name, p)]
        others = [p for name, p in self.learned.items() if not _in_block(name, p)]
        groups = [
            {"params": [p for p in others if p.ndim > 1], "weight_decay": recipe.decay},
            {"params": [p for p in others if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.parts: tuple[torch.optim.Optimizer, torch.optim.Optimizer] = (
            torch.optim.AdamW(groups, lr=recipe.rate, betas=(0.9, 0.98)),
            torch.optim.Muon(
                matrices, lr=recipe.matrix_rate, weight_decay=recipe.decay, adjust_lr_fn="match_rms_adamw"
            ),
        )

    def step(self, loss: Tensor, step: int) -> None:
        """Change the parameters so that the loss falls; the step counts from 0."""
        for part in self.parts:
            part.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.learned.values(), 1.0)
        for part, most in zip(self.parts, (self.recipe.rate, self.recipe.matrix_rate), strict=True):
            for group in part.param_groups:
                group["lr"] = most * share_of_rate(step, self.recipe)
            part.step()

    def state(self) -> dict[str, Tensor]:
        """Return what it remembers of every parameter: `KIND:NAME` and a tensor."""
        return {
            f"{kind}:{name}": torch.as_tensor(value)
            for name, parameter in self.learned.items()
            for part in self.parts
            for kind, value in part.state.get(parameter, {}).items()
        }

    def restore(self, state: dict[str, Tensor]) -> None:
        """Remember what `state` gave."""
        for key, value in state.items():
            kind, name = key.split(":")
            parameter = self.learned[name]
            self.parts[_in_block(name, parameter)].state[parameter][kind] = value


def _in_block(name: str, parameter: Tensor) -> bool:
    """Check whether it is a matrix that maps the tokens of a block: no table, no embedding, no classifier."""
    return parameter.ndim == 2 and "blocks." in name and name.endswith("weight")


def share_of_rate(step: int, recipe: Recipe) -> float:
    """Warm up linearly, then follow half a cosine down to a hundredth."""
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    done = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return 0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2
