"""An edited model as a module of its own, and as a file that needs neither the model nor a trace."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from jaxtyping import Float
from torch import Tensor, nn

from vitdecomp._utils.schema import Versioned, Within
from vitdecomp._utils.tensor_file import TensorFormat
from vitdecomp.engine.program_file import OTHER_VERSION, below, plain_program, read_program
from vitdecomp.engine.subset import weight_names
from vitdecomp.errors import InputError, SpecError
from vitdecomp.latent.edit import Edit
from vitdecomp.latent.selection import Rule
from vitdecomp.latent.sweep import Sweep
from vitdecomp.trace.cache.plain import Plain
from vitdecomp.trace.cache.sample import Sample
from vitdecomp.trace.paths import LinearPaths

WEIGHTS, TABLES, WHERE = "weights.", "tables.", "where."
SCHEMA = 1
SELECTIONS = {"remove": 1, "swap": 2}  # how many an action takes


@dataclass(frozen=True, slots=True)
class RuleHeader:
    """Say how tokens are selected: as `Rule` has it; `layer` is negative for a mask."""

    layer: int
    texts: Annotated[int, Within(0)]
    above: float | None


@dataclass(frozen=True, slots=True)
class EditedHeader(Versioned):
    """What a file says.

    Attributes:
        action: `remove` or `swap`. layers: in front of which blocks. where: how tokens are selected.
        sample: of the images. paths: the linear paths.
    """

    action: Literal["remove", "swap"]
    layers: tuple[Annotated[int, Within(0)], ...]
    where: tuple[RuleHeader, ...]
    sample: Sample
    paths: Plain


EDITED = TensorFormat("vitdecomp.edited", "edited module", EditedHeader, (SCHEMA,), "make it again with edit_tokens")


class EditedModule(nn.Module):
    """Images to representations, with some tokens changed on the way.

    Weights are copies. A file that `save` writes holds the program too: `load` needs neither the model nor any code but
    this library, and traces nothing.

    Args:
        paths: the linear paths of the model, with weights of their own.
        edit: what is done.
    """

    def __init__(self, paths: LinearPaths, edit: Edit) -> None:
        super().__init__()
        self._paths, self.edit = paths, edit
        self.model = paths.captured.module
        self._sweep = Sweep.along(paths)
        for layer in edit.layers:
            self._sweep.stream(layer)
        wrong = [w.layer for w in edit.where if isinstance(w, Rule) and not 0 <= w.layer <= len(self._sweep.layers)]
        if wrong or len(edit.where) != SELECTIONS[edit.action]:
            raise LookupError(f"layers {wrong}, {len(edit.where)} selections")  # which `load` puts into words
        self.register_load_state_dict_post_hook(_find_again)  # type: ignore[no-untyped-call]

    @classmethod
    def of(cls, paths: LinearPaths, edit: Edit) -> EditedModule:
        """Build it with copies of the weights.

        Raises:
            SpecError: the edit depends on more than the image; or the program cannot be copied.
        """
        if edit.action == "replace":
            raise SpecError("a module cannot replace tokens by those of other images: it is for remove= and swap=")
        masks = [where for where in edit.where if isinstance(where, Tensor)]
        if any(mask.ndim > 1 for mask in masks):
            raise SpecError("a module cannot have a mask for each image: give one for all images, Named or Similar")
        kept, tables = plain_program(paths)
        weights = {name: x.detach().clone() for name, x in _weights(paths).items()}
        return cls(read_program(kept, tables, weights, Sample.of(paths.captured.trial)), edit).eval()

    def forward(self, images: Float[Tensor, "n *image"]) -> Float[Tensor, "n d"]:
        """Compute the representations."""
        masks = self.edit.masks(self._sweep, images, slice(None), len(images))
        return self.edit.run(self._sweep, images, masks, None)

    def __deepcopy__(self, memo: object) -> EditedModule:
        """Copy the weights, and find the program for the copies."""
        return EditedModule.of(self._paths, self.edit).train(self.training)

    def save(self, path: Path | str) -> None:
        """Write the module into a safetensors file, weights and program.

        Raises:
            OutputError: it cannot be written.
        """
        kept, tables = plain_program(self._paths)
        assert self.edit.action != "replace"  # which `of` refuses
        rules = [_header(where) for where in self.edit.where]
        header = EditedHeader(
            schema=SCHEMA,
            action=self.edit.action,
            layers=self.edit.layers,
            where=tuple(rules),
            sample=Sample.of(self._paths.captured.trial),
            paths=kept,
        )
        tensors = {WEIGHTS + name: x.detach() for name, x in _weights(self._paths).items()}
        tensors |= {TABLES + name: x for name, x in tables.items()}
        for number, where in enumerate(self.edit.where):
            tensors |= {f"{WHERE}{number}.{name}": x.contiguous() for name, x in _tensors(where).items()}
        EDITED.write(Path(path), header, tensors)

    @classmethod
    def load(cls, path: Path | str) -> EditedModule:
        """Read what `save` wrote, on the CPU and in evaluation mode.

        Raises:
            InputError: no such file, a damaged one, or one of another version.
        """
        file = EDITED.read(Path(path))
        header = file.header
        try:
            paths = read_program(header.paths, below(TABLES, file.tensors), below(WEIGHTS, file.tensors), header.sample)
            where = tuple(
                _restored(rule, below(f"{WHERE}{number}.", file.tensors)) for number, rule in enumerate(header.where)
            )
            return cls(paths, Edit(header.action, header.layers, where)).eval()
        except OTHER_VERSION as error:
            raise InputError(
                f"{path} is damaged, or of another version of vitdecomp or torch: {EDITED.remedy}"
            ) from error


def _find_again(module: nn.Module, _: object) -> None:
    """Fold the projections of other weights."""
    assert isinstance(module, EditedModule)
    module._sweep = Sweep.along(module._paths)


def _weights(paths: LinearPaths) -> dict[str, Tensor]:
    return {name: getattr(paths.captured.module, at) for at, name in weight_names(paths.captured).items()}


def _header(where: Tensor | Rule) -> RuleHeader:
    return RuleHeader(-1, 0, None) if isinstance(where, Tensor) else RuleHeader(where.layer, where.texts, where.above)


def _tensors(where: Tensor | Rule) -> dict[str, Tensor]:
    if isinstance(where, Tensor):
        return {"mask": where}
    named = {"vectors": where.vectors, "weight": where.weight, "bias": where.bias}
    return {name: x.detach() for name, x in named.items() if x is not None}


def _restored(header: RuleHeader, tensors: dict[str, Tensor]) -> Tensor | Rule:
    if header.layer < 0:
        return tensors["mask"]
    return Rule(
        header.layer, tensors["vectors"], tensors.get("weight"), tensors.get("bias"), header.texts, header.above
    )
