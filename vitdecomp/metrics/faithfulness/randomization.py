"""Model parameter randomization test: do the maps change when the model's weights become random, from the top down?

References:
    Adebayo, Gilmer, Muelly, Goodfellow, Hardt and Kim, "Sanity Checks for Saliency Maps", arXiv 1810.03292.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitdecomp._utils.registry import did_you_mean
from vitdecomp.errors import InputError
from vitdecomp.metrics.faithfulness.explaining import explained_in_batches
from vitdecomp.metrics.faithfulness.scoring import check_counts, check_images, generator
from vitdecomp.metrics.faithfulness.similarity import spearman, ssim

ExplainModel: TypeAlias = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""`explain(model, images, rows)`: the maps `(m, h, w)` of a model for images `(m, c, h, w)`, number j of which is the
image `rows[j]` of those that were given."""


@dataclass(frozen=True, slots=True)
class Randomized:
    """How like the original the maps are that a model with random weights has.

    Attributes:
        stages: what was randomized last, from the top; what stands before it stays random.
        spearman: correlation of the pixels' ranks, `(stage, n)`, from -1 to 1.
        ssim: structural similarity of the maps scaled to 0 .. 1, `(stage, n)`, from -1 to 1.
    """

    stages: tuple[str, ...]
    spearman: Float[Tensor, "stage n"]
    ssim: Float[Tensor, "stage n"]


@dataclass(frozen=True, slots=True)
class Randomization:
    """Similarity of maps with those of the model after its weights are randomized. Lower is better.

    Args:
        stages: names of modules or parameters in the order in which they are randomized; `None`: `stages_of(model)`.
        batch_size: images that are explained at once.
        seed: of the weights.

    Raises:
        InputError: a batch size below 1.
    """

    stages: tuple[str, ...] | None = None
    batch_size: int = 64
    seed: int = 0
    higher_is_better = False

    def __post_init__(self) -> None:
        check_counts(batch_size=self.batch_size)

    def __call__(self, explain: ExplainModel, model: nn.Module, images: Float[Tensor, "n c h w"]) -> Randomized:
        """Randomize a copy of the model stage by stage, and compare its maps with the model's own.

        A parameter is drawn from a normal distribution with the mean and standard deviation of its own values; one
        whose values are all equal stays. Buffers stay. The model itself is read only.

        Args:
            explain: `explain(model, images, rows)`, which makes maps for any model that it is given.
            model: which the maps explain.
            images: as the model takes them, `(n, c, h, w)`.

        Raises:
            InputError: a stage without parameters, images or maps of the wrong shape, or NaN.
        """
        check_images(images)
        stages = stages_of(model) if self.stages is None else self.stages
        parts = _parts(model, stages)
        source, twin = generator(self.seed), copy.deepcopy(model)
        own = explained_in_batches(lambda x, rows: explain(model, x, rows), images, self.batch_size)
        by_rank, by_structure = [], []
        for names in parts:
            _randomize(twin, names, source)
            found = explained_in_batches(lambda x, rows: explain(twin, x, rows), images, self.batch_size)
            by_rank.append(spearman(own, found))
            by_structure.append(ssim(own, found))
        return Randomized(stages, torch.stack(by_rank), torch.stack(by_structure))


def randomized(model: nn.Module, seed: int = 0) -> nn.Module:
    """Return a copy of a model with all parameters random, as it is after the last stage of `Randomization`.

    Args:
        model: which is read only.
        seed: of the weights.

    Raises:
        InputError: a model without parameters.
    """
    twin, source = copy.deepcopy(model), generator(seed)
    for names in _parts(model, stages_of(model)):
        _randomize(twin, names, source)
    return twin


def stages_of(model: nn.Module) -> tuple[str, ...]:
    """Name the parts of a model from the last one registered to the first: blocks, and what stands outside of them.

    A part is named by a parameter's name up to its first number (`blocks.3` of `blocks.3.mlp.fc1.weight`), or
    without its last word where it has none (`norm` of `norm.weight`).

    Raises:
        InputError: a model without parameters.
    """
    names = [name for name, _ in model.named_parameters()]
    if not names:
        raise InputError("the model has no parameters to randomize; give the module that the maps explain")
    return tuple(dict.fromkeys(_stage(name) for name in reversed(names)))


def _stage(name: str) -> str:
    words = name.split(".")
    numbers = [i for i, word in enumerate(words) if word.isdigit()]
    return ".".join(words[: numbers[0] + 1] if numbers else words[:-1] or words)


def _parts(model: nn.Module, stages: tuple[str, ...]) -> list[list[str]]:
    names = [name for name, _ in model.named_parameters()]
    parts = [[name for name in names if f"{name}.".startswith(f"{stage}.")] for stage in stages]
    for stage, found in zip(stages, parts, strict=True):
        if not found:
            raise InputError(f"no parameters at stage {stage!r}{did_you_mean(stage, stages_of(model))}")
    if not parts:
        raise InputError("no stages to randomize; give names of modules, or None for all")
    return parts


@torch.no_grad()
def _randomize(model: nn.Module, names: list[str], source: torch.Generator) -> None:
    for name in names:
        parameter = model.get_parameter(name)
        if parameter.is_floating_point():
            values = parameter.to(torch.promote_types(parameter.dtype, torch.float32))
            noise = torch.randn(parameter.shape, generator=source, dtype=torch.float32, device="cpu").to(values)
            parameter.copy_(values.mean() + values.std(correction=0) * noise)
