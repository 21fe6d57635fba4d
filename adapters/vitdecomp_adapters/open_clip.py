"""open_clip: the image tower, as projected embedding or with unit norm."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from vitdecomp.adapter import Adapter, LoadedModel, register_adapter
from vitdecomp.errors import SpecError
from vitdecomp.registry import did_you_mean
from vitdecomp_adapters.hub import fetching, first_line, local_file, quiet, unusable

MODELS = ("CLIP", "CustomTextCLIP", "CoCa")
TOWERS = ("VisionTransformer", "TimmModel", "ModifiedResNet")
FOREIGN = ("hf-hub:", "local-dir:")  # names that open_clip resolves itself


def embedding(model: Any, images: Tensor) -> Tensor:
    """The image embedding in the space shared with text, `(n, d)`; its norm is left as it is."""
    vector: Tensor = model.encode_image(images, normalize=False)
    return vector


def tower_embedding(tower: Any, images: Tensor) -> Tensor:
    """The same from an image tower alone, `(n, d)`; towers that give their tokens too give them second."""
    out = tower(images)
    vector: Tensor = out[0] if isinstance(out, tuple) else out
    return vector


def with_unit_norm(compute: Callable[[Any, Tensor], Tensor]) -> Callable[[Any, Tensor], Tensor]:
    """An output divided by its norm."""

    def normalized(model: Any, images: Tensor) -> Tensor:
        vector = compute(model, images)
        unit: Tensor = vector / vector.norm(dim=-1, keepdim=True)
        return unit

    return normalized


def outputs(compute: Callable[[Any, Tensor], Tensor]) -> Mapping[str, Callable[[Any, Tensor], Tensor]]:
    """The vectors that CLIP-like models offer."""
    return {"embedding": compute, "normalized": with_unit_norm(compute)}


@register_adapter
class OpenClipAdapter(Adapter):
    """Specs `open_clip:NAME/TAG`; `open_clip:NAME` has random weights."""

    prefix = "open_clip"

    def load(self, name: str, *, pretrained: bool, **options: Any) -> LoadedModel:
        """Load a model; `checkpoint_path` and all further options go to `open_clip.create_model`.

        Raises:
            SpecError: open_clip has no such model or tag, or the model does not take the options.
            LoadError: its weights cannot be had.
        """
        architecture, tag = (name, "") if name.startswith(FOREIGN) else _split(name)
        checkpoint = options.pop("checkpoint_path", None)
        trained = pretrained and bool(tag or architecture.startswith(FOREIGN))
        spec = f"open_clip:{name}"
        if checkpoint:
            module = _with_checkpoint(architecture, local_file(checkpoint), options)
        elif trained:
            with fetching(spec):
                module = _create(architecture, _as_trained(architecture, tag), options)
        else:
            module = _random(architecture, options)
        return describe(module.eval(), spec, pretrained=bool(checkpoint) or trained)

    def recognise(self, module: nn.Module) -> LoadedModel | None:
        """A CLIP, CustomTextCLIP or CoCa, or an image tower of open_clip on its own."""
        names = {c.__name__ for c in type(module).__mro__ if c.__module__.startswith("open_clip.")}
        spec = f"python:{type(module).__module__}:{type(module).__qualname__}"
        if names & {*MODELS}:
            return describe(module, spec, pretrained=False)
        if names & {*TOWERS}:
            return describe(module, spec, pretrained=False, compute=tower_embedding)
        return None

    def names(self, pattern: str = "*") -> list[str]:
        """`NAME/TAG` of all trained models and `NAME` of all architectures."""
        from fnmatch import fnmatchcase

        import open_clip

        known = [*open_clip.list_models(), *(f"{model}/{tag}" for model, tag in open_clip.list_pretrained())]
        return sorted(name for name in known if fnmatchcase(name.lower(), pattern.lower()))


def describe(
    module: nn.Module,
    spec: str,
    *,
    pretrained: bool,
    compute: Callable[[Any, Tensor], Tensor] = embedding,
) -> LoadedModel:
    """A model of open_clip with its outputs and the transforms that it was trained with."""
    from open_clip.transform import PreprocessCfg, image_transform_v2

    tower: Any = getattr(module, "visual", module)
    size = tower.image_size if isinstance(tower.image_size, tuple) else (tower.image_size, tower.image_size)
    cfg = {"size": size, **(getattr(tower, "preprocess_cfg", None) or {})}
    preprocess: Any = image_transform_v2(PreprocessCfg(**cfg), is_train=False)
    return LoadedModel(module, preprocess, spec, outputs(compute), (3, *size), pretrained)


def _split(name: str) -> tuple[str, str]:
    """Architecture and tag of `NAME/TAG`, both known."""
    import open_clip

    architecture, _, tag = name.partition("/")
    if architecture not in open_clip.list_models():
        raise SpecError(f"open_clip has no model {name!r}{did_you_mean(architecture, open_clip.list_models())}")
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if tag and tag not in tags:
        near = did_you_mean(tag, tags) or f"; there are: {', '.join(tags)}"
        raise SpecError(f"open_clip has no weights {tag!r} for {architecture}{near}")
    return architecture, tag


def _as_trained(architecture: str, tag: str) -> dict[str, Any]:
    """The weights, and what they need: those trained with QuickGELU give wrong results with GELU."""
    import open_clip

    if not tag:
        return {}
    cfg = open_clip.get_pretrained_cfg(architecture, tag)
    return {"pretrained": tag, **({"force_quick_gelu": True} if cfg.get("quick_gelu") else {})}


def _create(architecture: str, weights: Mapping[str, Any], options: Mapping[str, Any]) -> nn.Module:
    import open_clip

    try:
        with quiet():
            module: nn.Module = open_clip.create_model(architecture, **{**weights, **options})
    except (TypeError, AssertionError) as error:
        given = dict(options) or "its defaults"
        raise SpecError(f"open_clip cannot build {architecture} with {given}: {first_line(error)}") from error
    return module


def _random(architecture: str, options: Mapping[str, Any]) -> nn.Module:
    import open_clip

    untrained = {"load_weights": False, "pretrained_image": False, "pretrained_text": False}
    config = (None if architecture.startswith(FOREIGN) else open_clip.get_model_config(architecture)) or {}
    local = "text_cfg" in config and "hf_model_name" not in config["text_cfg"]
    # Some text towers need a configuration from the hub, even with random weights.
    with fetching(f"open_clip:{architecture}", local=local):
        return _create(architecture, untrained, options)


def _with_checkpoint(architecture: str, path: str, options: Mapping[str, Any]) -> nn.Module:
    try:
        return _create(architecture, {"pretrained": path}, options)
    except SpecError:
        raise
    except Exception as error:  # a truncated or foreign file can fail in any way
        raise unusable(path, f"open_clip:{architecture}", error) from error
