"""A model whose cue is removed, as one module that can be deployed."""

from __future__ import annotations

from types import TracebackType

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitdecomp.ablation import Ablator, LinearHead
from vitdecomp.decompose import Decomposer
from vitdecomp.errors import InputError, SpecError

Head = LinearHead | nn.Linear | None


class Debiased(nn.Module):
    """Images to the logits of the cleaned representation: head(r - sum_i (c_i - m_i) P_i).

    The contributions c_i are those of the ablated components alone. Weights, replacements and the head are copies: the
    model that they come from stays as it is, and nothing is hooked into it. `state_dict` holds all of them; it can be
    loaded into a module that was made in the same way.

    Attributes:
        ablating: whether the ablation is in force.
    """

    def __init__(self, decomposer: Decomposer, ablator: Ablator, head: Head = None) -> None:
        super().__init__()
        self.parts = decomposer.only(ablator.components_)
        stand_in = ablator.replacement_([0], None)[0]
        like = next((t for t in self.parts.parameters() if t.is_floating_point()), stand_in)
        self.replacement: Tensor
        self.bases: Tensor | None
        self.register_buffer("replacement", stand_in.to(like).clone())
        self.register_buffer("bases", None if ablator.bases_ is None else ablator.bases_.to(like).contiguous().clone())
        self.head = _as_layer(head, like)
        self.ablating = True

    @property
    def handle(self) -> AblationHandle:
        """Takes the ablation out again."""
        return AblationHandle(self)

    def forward(self, images: Tensor) -> Float[Tensor, "n class"]:
        """Logits; representations, if there is no head."""
        representation, contributions = self.parts(images)
        if self.ablating:
            representation = representation - self._removed(contributions)
        logits: Tensor = self.head(representation)
        return logits

    def _removed(self, contributions: Float[Tensor, "n k d"]) -> Float[Tensor, "n d"]:
        difference = contributions - self.replacement
        if self.bases is not None:
            seen = torch.einsum("nkd,kdr->nkr", difference, self.bases)
            return torch.einsum("nkr,kdr->nd", seen, self.bases)
        return difference.sum(1)


class AblationHandle:
    """Takes the ablation out of a module: for good with `remove`, or for the length of a `with` block."""

    def __init__(self, module: Debiased) -> None:
        self._module = module

    def remove(self) -> None:
        """From now on the module gives the logits of the whole representation."""
        self._module.ablating = False

    def restore(self) -> None:
        """And from now on those of the cleaned one again."""
        self._module.ablating = True

    def __enter__(self) -> AblationHandle:
        self.remove()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.restore()


def debiased(decomposer: Decomposer, ablator: Ablator, head: Head = None) -> Debiased:
    """The model of a decomposer with an ablation inside, and a linear head behind it.

    Args:
        decomposer: fitted; its `by` is that of the ablator's components.
        ablator: fitted to contributions of that model, with `value="zero"` or `"mean"`.
        head: a classifier of representations; without one the module returns the cleaned representation.

    Raises:
        SpecError: not fitted, no such component, or a replacement that depends on more than the image.
        InputError: the ablator was fitted to another model, or the head takes vectors of another length.
    """
    _check(decomposer, ablator, head)
    return Debiased(decomposer, ablator, head)


def _check(decomposer: Decomposer, ablator: Ablator, head: Head) -> None:
    for part in (ablator, decomposer):
        if not hasattr(part, "components_"):
            raise SpecError(f"this {type(part).__name__} is not fitted yet: call fit first")
    if not ablator.replacement_.constant:
        raise SpecError(f"value={ablator.value!r} needs more than the image: a module can have 'zero' or 'mean'")
    if ablator.origin_ is not None:
        ablator.origin_.check(decomposer.origin_, "the ablation was fitted to")
    if head is not None and head.weight.shape[1] != ablator.dimension_:
        raise InputError(f"a head for vectors of {head.weight.shape[1]}, but the model's have {ablator.dimension_}")


def _as_layer(head: Head, like: Tensor) -> nn.Module:
    if head is None:
        return nn.Identity()
    d, classes = head.weight.shape[1], head.weight.shape[0]
    layer = nn.Linear(d, classes, device="meta", dtype=like.dtype)  # which draws nothing from the global random state
    layer = layer.to_empty(device=like.device).requires_grad_(False)
    layer.weight.copy_(head.weight.detach())
    bias: Tensor | None = head.bias
    layer.bias.copy_(layer.bias.new_zeros(classes) if bias is None else bias.detach())
    return layer
