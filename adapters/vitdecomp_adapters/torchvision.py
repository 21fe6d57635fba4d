"""torchvision: its classification models, and what their last linear layer reads."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from vitdecomp.adapter import Adapter, LoadedModel, call, own_spec, register_adapter
from vitdecomp.errors import SpecError
from vitdecomp.registry import did_you_mean
from vitdecomp_adapters.hub import fetching, first_line, local_file, unusable
from vitdecomp_adapters.submodule import replaced


def embedding(model: nn.Module, images: Tensor) -> Tensor:
    """The features that the classifier reads, `(n, d)`."""
    vector: Tensor = replaced(model, classifier(model), nn.Identity())(images)
    return vector


def classifier(model: nn.Module) -> str:
    """Path of the last linear layer, which in torchvision's models is the classifier.

    Raises:
        SpecError: the model has none.
    """
    layers = [str(path) for path, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise SpecError(f"{type(model).__name__} has no linear classifier; use output='logits'")
    return layers[-1]


@register_adapter
class TorchvisionAdapter(Adapter):
    """Specs `torchvision:NAME`, such as `torchvision:vit_b_16`."""

    prefix = "torchvision"

    def load(self, name: str, *, pretrained: bool, **options: Any) -> LoadedModel:
        """Load a model; `weights` and all further options go to `torchvision.models.get_model`.

        Raises:
            SpecError: torchvision has no such model, or it does not take the options.
            LoadError: its weights cannot be had.
        """
        from torchvision import models

        known = self.names()
        if name not in known:
            raise SpecError(f"torchvision has no model {name!r}{did_you_mean(name, known)}")
        checkpoint = options.pop("checkpoint_path", None)
        weights = options.pop("weights", "DEFAULT") if pretrained and not checkpoint else None
        try:
            if weights is None:
                module = models.get_model(name, weights=None, **options)
            else:
                with fetching(f"torchvision:{name}"):
                    module = models.get_model(name, weights=weights, **options)
        except (TypeError, ValueError) as error:
            given = options or "its defaults"
            raise SpecError(f"torchvision cannot build {name} with {given}: {first_line(error)}") from error
        if checkpoint:
            _load_checkpoint(module, local_file(checkpoint), f"torchvision:{name}")
        return describe(module.eval(), name, pretrained=bool(checkpoint or weights))

    def recognise(self, module: nn.Module) -> LoadedModel | None:
        """A classification model of torchvision, if it still has its classifier."""
        owner = next(c for c in type(module).__mro__ if "forward" in vars(c)).__module__
        if not owner.startswith("torchvision.models.") or owner.count(".") > 2:
            return None
        outputs = {"embedding": embedding, "logits": call}
        return LoadedModel(module, None, own_spec(module), outputs)

    def names(self, pattern: str = "*") -> list[str]:
        """Classification models."""
        from torchvision import models

        return list(models.list_models(module=models, include=pattern))


def describe(module: nn.Module, name: str, *, pretrained: bool) -> LoadedModel:
    """A model with its outputs and the transforms of its best weights."""
    from torchvision import models

    weights: Any = models.get_model_weights(name)
    preprocess = weights.DEFAULT.transforms()
    size = getattr(module, "image_size", preprocess.crop_size[0])
    outputs = {"embedding": embedding, "logits": call}
    return LoadedModel(module, preprocess, f"torchvision:{name}", outputs, (3, size, size), pretrained)


def _load_checkpoint(module: nn.Module, path: str, spec: str) -> None:
    from safetensors.torch import load_model

    try:
        load_model(module, path)
    except Exception as error:  # a truncated or foreign file can fail in any way
        raise unusable(path, spec, error) from error
