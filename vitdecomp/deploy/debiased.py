"""A model whose cue is removed, as one module that can be deployed."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from types import TracebackType

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitdecomp.ablation import Ablator, LinearHead, SpectralReweighting
from vitdecomp.component import Component
from vitdecomp.decompose import Decomposer
from vitdecomp.deploy.debiased_file import read_debiased, write_debiased
from vitdecomp.deploy.removed_units import RemovedUnits
from vitdecomp.engine.component_set import ComponentSet
from vitdecomp.engine.subset import Subset
from vitdecomp.errors import InputError, SpecError
from vitdecomp.trace.paths import LinearPaths
from vitdecomp.units import Directions

HEAD = "head.weight"
Head = LinearHead | nn.Linear | None


class Debiased(Subset):
    """Images to the logits of the cleaned representation: head(r - sum_i (c_i - m_i) P_i).

    P_i is w I + B diag(a) B^T, with `whole` w, `bases` B and `amounts` a: the identity, a projection, or, of a
    component whose units are removed or scaled, what is taken of each of them. The contributions c_i are those of the
    ablated components alone. Weights, replacements and the head are copies: the model that they come from stays as it
    is, and nothing is hooked into it. `state_dict` holds all of them: those of the model as `model.` and the name that
    they have there, and `replacement`, `bases`, `amounts`, `whole`, `head.weight`, `head.bias`.
    A file that `save` writes holds the program too: `load` needs neither the model nor any code but this library.

    Attributes:
        ablating: whether the ablation is in force.
    """

    def __init__(
        self,
        paths: LinearPaths,
        component_set: ComponentSet,
        components: Collection[Component],
        *,
        replacement: Float[Tensor, "k d"],
        bases: Float[Tensor, "k d r"] | None,
        amounts: Float[Tensor, "k r"] | None = None,
        whole: Float[Tensor, " k"] | None = None,
        head: Head,
    ) -> None:
        super().__init__(paths, component_set, components)
        like = next((t for t in self.model.parameters() if t.is_floating_point()), replacement)
        self.replacement: Tensor
        self.bases: Tensor | None
        self.amounts: Tensor | None
        self.whole: Tensor | None
        self.register_buffer("replacement", replacement.to(like).clone())
        for name, tensor in (("bases", bases), ("amounts", amounts), ("whole", whole)):
            self.register_buffer(name, None if tensor is None else tensor.to(like).contiguous().clone())
        self.head = _as_layer(head, like)
        self.ablating = True

    @property
    def handle(self) -> AblationHandle:
        """Takes the ablation out again."""
        return AblationHandle(self)

    def forward(self, images: Tensor) -> Float[Tensor, "n class"]:  # type: ignore[override]
        """Logits; representations, if there is no head."""
        representation, contributions = super().forward(images)
        if self.ablating:
            representation = representation - self._removed(contributions)
        logits: Tensor = self.head(representation)
        return logits

    def save(self, path: Path | str) -> None:
        """Write the module into a safetensors file, weights and program.

        Raises:
            SpecError: its program cannot stand in a file, as with rules of your own.
            OutputError: it cannot be written.
        """
        write_debiased(self, Path(path), self.state_dict(), self.ablating)

    @classmethod
    def load(cls, path: Path | str) -> Debiased:
        """Read what `save` wrote, on the CPU and in evaluation mode.

        Raises:
            InputError: no such file, a damaged one, or one of another version.
        """
        file = read_debiased(Path(path))
        weights = file.weights
        layer = None
        if HEAD in weights:
            layer = LinearHead(weights[HEAD], weights.get("head.bias", weights[HEAD].new_zeros(len(weights[HEAD]))))
        found = cls(
            file.component_set.paths,
            file.component_set,
            file.components,
            replacement=weights["replacement"],
            bases=weights.get("bases"),
            amounts=weights.get("amounts"),
            whole=weights.get("whole"),
            head=layer,
        )
        found.load_state_dict(weights)
        found.ablating = file.ablating
        return found.eval()

    def _removed(self, contributions: Float[Tensor, "n k d"]) -> Float[Tensor, "n d"]:
        difference = contributions - self.replacement
        if self.bases is None:
            return difference.sum(1)
        seen = torch.einsum("nkd,kdr->nkr", difference, self.bases)
        if self.amounts is not None:
            seen = seen * self.amounts
        removed = torch.einsum("nkr,kdr->nd", seen, self.bases)
        return removed if self.whole is None else removed + torch.einsum("nkd,k->nd", difference, self.whole)


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


def debiased(
    decomposer: Decomposer, ablator: Ablator, head: Head = None, *, directions: Directions | None = None
) -> Debiased:
    """Build the model of a decomposer with an ablation inside, and a linear head behind it.

    Args:
        decomposer: fitted; its `by` is that of the ablator's components.
        ablator: fitted to contributions of that model, with `value="zero"` or `"mean"`.
        head: a classifier of representations; without one the module returns the cleaned representation.
        directions: that split the components into the units which the ablator replaces.

    Raises:
        SpecError: not fitted, no such component, a replacement that depends on more than the image, or units of which
            only a subspace is replaced.
        InputError: the ablator was fitted to another model, or the head takes vectors of another length.
    """
    _check(decomposer, ablator, head)
    components, replacement, bases = ablator.components_, ablator.replacement_([0], None)[0], ablator.bases_
    if directions is not None and components:
        if bases is not None:
            raise SpecError("units are removed whole: an Ablator of units takes no directions of its own")
        return _without(decomposer, RemovedUnits.of(components, replacement, directions), head)
    return Debiased(*decomposer.chosen(components), components, replacement=replacement, bases=bases, head=head)


def reweighted(
    decomposer: Decomposer, weights: SpectralReweighting, head: Head = None, *, directions: Directions
) -> Debiased:
    """Build the model of a decomposer with its units scaled, and a linear head behind it.

    Args:
        decomposer: fitted; its `by` is that of the components that were split.
        weights: fitted to contributions of that model.
        head: a classifier of representations; without one the module returns the representation.
        directions: that split the components.

    Raises:
        SpecError: not fitted, or no such component.
        InputError: the scales were fitted to another model, or the head takes vectors of another length.
    """
    _check_fitted(decomposer, weights, weights.means_.shape[1] if hasattr(weights, "means_") else 0, head)
    taken = RemovedUnits.of(weights.components_, weights.means_, directions, 1 - weights.scales_)
    return _without(decomposer, taken, head)


def _without(decomposer: Decomposer, units: RemovedUnits, head: Head) -> Debiased:
    return Debiased(
        *decomposer.chosen(units.components),
        units.components,
        replacement=units.replacement,
        bases=units.bases,
        amounts=units.amounts,
        whole=units.whole,
        head=head,
    )


def _check(decomposer: Decomposer, ablator: Ablator, head: Head) -> None:
    _check_fitted(decomposer, ablator, getattr(ablator, "dimension_", 0), head)
    if not ablator.replacement_.constant:
        raise SpecError(f"value={ablator.value!r} needs more than the image: a module can have 'zero' or 'mean'")


def _check_fitted(decomposer: Decomposer, change: Ablator | SpectralReweighting, dimension: int, head: Head) -> None:
    for part in (change, decomposer):
        if not hasattr(part, "components_"):
            raise SpecError(f"this {type(part).__name__} is not fitted yet: call fit first")
    decomposer.chosen(())  # whose weights may have changed since
    if change.origin_ is not None:
        change.origin_.check(decomposer.origin_, f"the {type(change).__name__} was fitted to")
    if head is not None and head.weight.shape[1] != dimension:
        raise InputError(f"a head for vectors of {head.weight.shape[1]}, but the model's have {dimension}")


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
