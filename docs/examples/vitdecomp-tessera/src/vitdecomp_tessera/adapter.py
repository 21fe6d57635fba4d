"""The adapter: `tessera:small` becomes a model, its preprocessing, and the vectors that can be decomposed."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import filter as matching
from typing import Any

from torch import Tensor, nn

import vitdecomp as vd
from vitdecomp.models.loaded_model import Classifier
from vitdecomp.models.preprocessing import PlainPreprocess
from vitdecomp_tessera.library import SIZES, Tessera


@vd.register_adapter
class TesseraAdapter(vd.Adapter):
    """All that vitdecomp knows of the library."""

    prefix = "tessera"

    def load(self, name: str, *, pretrained: bool, **options: Any) -> vd.LoadedModel:
        """Load a model by its name."""
        if name not in SIZES:
            raise vd.SpecError(f"tessera has no model {name!r}; there are: {', '.join(SIZES)}")
        if pretrained:
            raise vd.LoadError("tessera has no trained weights: use --random-weights (pretrained=False)")
        return _loaded(Tessera(**SIZES[name], **options).eval(), f"tessera:{name}", pretrained=False)

    def recognise(self, module: nn.Module) -> vd.LoadedModel | None:
        """Return a user's own model with its outputs, if it is one of the library."""
        return _loaded(module, "tessera:own") if isinstance(module, Tessera) else None

    def names(self, pattern: str = "*") -> list[str]:
        """List the library's models."""
        return matching(SIZES, pattern)

    def defines(self, name: str) -> bool:
        """Say that loading a known name runs nothing that the name chooses."""
        return name in SIZES


def _loaded(module: Tessera, spec: str, pretrained: bool | None = None) -> vd.LoadedModel:
    size = (3, module.size, module.size)
    classes = tuple(f"class {i}" for i in range(module.head.out_features))
    return vd.LoadedModel(
        module,
        PlainPreprocess(size),
        spec,
        OUTPUTS,
        input_size=size,
        pretrained=pretrained,
        classifier=Classifier(classes, module.head),
    )


# Functions, not methods that replace something: the user's module is never changed.
OUTPUTS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "embedding": lambda model, images: model.describe(images),
    "logits": lambda model, images: model(images),
}
