"""scenes: the embedded world's own models, by short names; the libraries they are made with do the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from vitdecomp._utils.registry import did_you_mean
from vitdecomp.errors import LoadError, SpecError
from vitdecomp.models.adapter import Adapter, LoadedModel, load_model, register_adapter

MODELS: Mapping[str, str] = {
    "clip": "open_clip:scenes-clip",
    "deit": "timm:scenes_deit",
    "dino": "timm:scenes_dino",
    "swin": "timm:scenes_swin",
    "maxvit": "timm:scenes_maxvit",
}


@register_adapter
class ScenesAdapter(Adapter):
    """Specs `scenes:clip`, `scenes:deit`, `scenes:dino`, `scenes:swin` and `scenes:maxvit`."""

    prefix = "scenes"

    def load(
        self, name: str, *, pretrained: bool, image_size: tuple[int, ...] | None = None, **options: Any
    ) -> LoadedModel:
        """Load a model with the weights that come with vitdecomp; the options go to its library's adapter.

        Raises:
            SpecError: there is no such model.
            LoadError: the weights are missing or do not fit.
        """
        if name not in MODELS:
            raise SpecError(f"scenes has no model {name!r}{did_you_mean(name, MODELS)}")
        from vitdecomp_adapters.scenes import architectures, clip

        assert architectures.default_cfgs  # importing the module makes the models known to timm
        if MODELS[name].startswith("open_clip:"):  # which the others need not import
            clip.register()
        if pretrained and "checkpoint_path" not in options:
            options["checkpoint_path"] = _weights(name)
        return _named(load_model(MODELS[name], pretrained=False, image_size=image_size, **options), f"scenes:{name}")

    def load_texts(self, name: str) -> LoadedModel | None:
        """Load the text tower of the CLIP; the other models read no texts.

        Raises:
            LoadError: the weights are missing or damaged.
        """
        if name != "clip":
            return None
        from vitdecomp_adapters.checkpoint import read
        from vitdecomp_adapters.scenes.text_tower import TextTower

        spec = f"scenes:{name}"
        tower = TextTower(read(str(_weights(name)), spec))
        return LoadedModel(tower, None, spec, pretrained=True, encode_text=tower.encode)

    def names(self, pattern: str = "*") -> list[str]:
        """List the models whose names match."""
        return [name for name in MODELS if fnmatchcase(name, pattern)]

    def defines(self, name: str) -> bool:
        """Check whether it is one of those that come with vitdecomp."""
        return name in MODELS


def _weights(name: str) -> Path:
    """Return where the weights of a model are."""
    from vitdecomp_adapters.scenes import clip

    path = clip.WEIGHTS / f"{name}.safetensors"
    if not path.is_file():
        raise LoadError(
            f"the weights of scenes:{name} are missing at {path}; make them with "
            f"`python -m scenes_training {name}` in the repository, or take random ones"
        )
    return path


def _named(loaded: LoadedModel, spec: str) -> LoadedModel:
    """Name the model shortly, with the names of the classes that it learned."""
    from vitdecomp_adapters.scenes.classes import CLASSES

    known = loaded.classifier
    if known is not None and known.layer.out_features == len(CLASSES):
        return replace(loaded, spec=spec, classifier=replace(known, names=CLASSES))
    return replace(loaded, spec=spec)
