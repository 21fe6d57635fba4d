"""open_clip: the image tower, as projected embedding or with unit norm, and the text tower."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from vitdecomp._utils.hub import TOKENIZER_REMEDY, check_vocabulary, fetching, first_line, local_file, quiet
from vitdecomp._utils.limits import check_configuration
from vitdecomp._utils.registry import did_you_mean
from vitdecomp.errors import SpecError
from vitdecomp.models.adapter import Adapter, LoadedModel, own_spec, register_adapter
from vitdecomp_adapters.checkpoint import Filled, Rules, Tensors, fill, listed, unusable

MODELS = ("CLIP", "CustomTextCLIP", "CoCa")
TOWERS = ("VisionTransformer", "TimmModel", "ModifiedResNet")
FOREIGN = ("hf-hub:", "local-dir:")  # names that open_clip resolves itself


def embedding(model: Any, images: Tensor) -> Tensor:
    """Compute the image embedding in the space shared with text, `(n, d)`; its norm is left as it is."""
    vector: Tensor = model.encode_image(images, normalize=False)
    return vector


def tower_embedding(tower: Any, images: Tensor) -> Tensor:
    """Compute the same from an image tower alone, `(n, d)`; towers that give their tokens too give them second."""
    out = tower(images)
    vector: Tensor = out[0] if isinstance(out, tuple) else out
    return vector


def with_unit_norm(compute: Callable[[Any, Tensor], Tensor]) -> Callable[[Any, Tensor], Tensor]:
    """Divide an output by its norm."""

    def normalized(model: Any, images: Tensor) -> Tensor:
        vector = compute(model, images)
        unit: Tensor = vector / vector.norm(dim=-1, keepdim=True)
        return unit

    return normalized


def outputs(compute: Callable[[Any, Tensor], Tensor]) -> Mapping[str, Callable[[Any, Tensor], Tensor]]:
    """Return the vectors that CLIP-like models offer."""
    return {"embedding": compute, "normalized": with_unit_norm(compute)}


SIZES = {"image_size", "layers", "width", "patch_size", "head_width", "mlp_ratio"}  # what architectures differ in
NAMES = {"timm_model_name", "timm_model_pretrained", "timm_drop", "timm_drop_path"}


def _architecture(config: Mapping[str, Any]) -> str:
    from timm.models import model_entrypoint

    vision = config["vision_cfg"]
    kind = "resnet" if isinstance(vision.get("layers"), list) else "vit"
    if name := vision.get("timm_model_name"):
        kind = model_entrypoint(name.partition(".")[0]).__module__.rpartition(".")[2]
    words = [f"{key.removeprefix('timm_')}={value}" for key, value in vision.items() if key not in SIZES | NAMES]
    words += ["quick_gelu"] * config.get("quick_gelu", False) + ["coca"] * ("multimodal_cfg" in config)
    words = [word for word in words if not word.endswith("=")]
    return f"{kind} ({', '.join(words)})" if words else kind


class TextEncoder:
    """The text tower of a model, with the tokenizer that it was trained with.

    Args:
        module: the model.
        architecture: its name in open_clip, which tells the tokenizer.
        spec: for messages.
    """

    def __init__(self, module: nn.Module, architecture: str, spec: str) -> None:
        self.module, self.architecture, self.spec = module, architecture, spec

    def __call__(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """Texts to vectors in the space shared with images; their norm is left as it is.

        Raises:
            LoadError: the tokenizer cannot be had.
        """
        model: Any = self.module
        tokens = self.tokenizer(list(texts)).to(next(model.parameters()).device)
        vectors: Tensor = model.encode_text(tokens, normalize=False)
        return vectors

    @cached_property
    def tokenizer(self) -> Callable[[list[str]], Tensor]:
        """Texts to tokens; had on first use, since some tokenizers are on the hub."""
        import open_clip

        text = _text_config(self.architecture)
        local = text is not None and "hf_tokenizer_name" not in text
        with fetching(self.spec, local=local, what="tokenizer files", remedy=TOKENIZER_REMEDY):
            made: Any = open_clip.get_tokenizer(self.architecture, context_length=_context_length(self.module))
            if hasattr(made, "tokenizer"):  # one of transformers
                check_vocabulary(made.tokenizer, _text_tower(self.module).vocab_size)
        return made  # type: ignore[no-any-return]


@register_adapter
class OpenClipAdapter(Adapter):
    """Specs `open_clip:NAME/TAG`; `open_clip:NAME` has random weights."""

    prefix = "open_clip"

    def load(
        self, name: str, *, pretrained: bool, image_size: tuple[int, ...] | None = None, **options: Any
    ) -> LoadedModel:
        """Load a model; all options but `checkpoint_path` go to `open_clip.create_model`.

        Raises:
            SpecError: open_clip has no such model or tag, or the model does not take the options.
            LoadError: its weights cannot be had.
        """
        architecture, tag = (name, "") if name.startswith(FOREIGN) else _split(name)
        checkpoint, spec = options.pop("checkpoint_path", None), f"open_clip:{name}"
        if name.startswith(FOREIGN):
            check_configuration(Path(name.removeprefix("local-dir:")))
        options |= _sized(image_size, spec)
        if checkpoint:
            return _with_checkpoint(self, architecture, local_file(checkpoint), spec, options)
        trained = pretrained and bool(tag or architecture.startswith(FOREIGN))
        if trained:
            with fetching(spec):
                module = _create(architecture, _as_trained(architecture, tag), options)
        else:
            module = _random(architecture, options)
        loaded = describe(module.eval(), spec, pretrained=trained)
        return replace(loaded, encode_text=TextEncoder(module, architecture, spec))

    def recognise(self, module: nn.Module) -> LoadedModel | None:
        """Recognize a CLIP, CustomTextCLIP or CoCa, or an image tower of open_clip on its own."""
        names = {c.__name__ for c in type(module).__mro__ if c.__module__.startswith("open_clip.")}
        spec = own_spec(module)
        if names & {*MODELS}:
            return describe(module, spec, pretrained=None)
        if names & {*TOWERS}:
            return describe(module, spec, pretrained=None, compute=tower_embedding)
        return None

    def rules(self, module: nn.Module) -> Rules:
        """Return how files fit a model of open_clip: its own conversions; the embedding needs the image tower alone."""
        return Rules(convert=_converted, spare=lambda name: hasattr(module, "visual") and name[:7] != "visual.")

    def names(self, pattern: str = "*") -> list[str]:
        """`NAME/TAG` of all trained models and `NAME` of all architectures."""
        from fnmatch import fnmatchcase

        import open_clip

        known = [*open_clip.list_models(), *(f"{model}/{tag}" for model, tag in open_clip.list_pretrained())]
        return sorted(name for name in known if fnmatchcase(name.lower(), pattern.lower()))

    def family(self, name: str) -> str | None:
        """Name what the image tower is made of, whatever its size."""
        import open_clip

        config = open_clip.get_model_config(name.partition("/")[0])
        return None if config is None else _architecture(config)

    def defines(self, name: str) -> bool:
        """Check whether open_clip lists the architecture and the tag."""
        with suppress(SpecError):
            _split(name)
            return True
        return False


def describe(
    module: nn.Module,
    spec: str,
    *,
    pretrained: bool | None,
    compute: Callable[[Any, Tensor], Tensor] = embedding,
) -> LoadedModel:
    """Describe a model of open_clip with its outputs and the transforms that it was trained with."""
    tower: Any = getattr(module, "visual", module)
    size = tower.image_size if isinstance(tower.image_size, tuple) else (tower.image_size, tower.image_size)
    cfg = {"size": size, **(getattr(tower, "preprocess_cfg", None) or {})}
    made = partial(transform, cfg)
    shape = (3, *size)
    return LoadedModel(module, made(shape), spec, outputs(compute), shape, pretrained, preprocess_for=made)


def transform(config: Mapping[str, Any], size: tuple[int, ...]) -> Callable[[Any], Tensor]:
    """Build open_clip's own transform for evaluation, with another size.

    Raises:
        SpecError: other channels than three.
    """
    from open_clip.transform import PreprocessCfg, image_transform_v2

    if size[0] != 3:
        raise SpecError(f"open_clip's transforms make images of 3 channels, not {size[0]}: give a preprocess")
    made: Any = image_transform_v2(PreprocessCfg(**{**config, "size": size[1:]}), is_train=False)
    return made  # type: ignore[no-any-return]


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
    """Return the weights, and what they need: those trained with QuickGELU give wrong results with GELU."""
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


def _text_config(architecture: str) -> Mapping[str, Any] | None:
    """Return how open_clip makes the text tower and its tokenizer; `None` where only the hub knows."""
    import open_clip

    config = (None if architecture.startswith(FOREIGN) else open_clip.get_model_config(architecture)) or {}
    text: Mapping[str, Any] | None = config.get("text_cfg")
    return text


def _text_tower(module: Any) -> Any:
    """Return the part that reads texts; a plain CLIP has none, and its own attributes are those of the tower."""
    return getattr(module, "text", module)


def _context_length(module: nn.Module) -> int | None:
    """Tokens that the text tower takes; `None` for one of transformers, which open_clip gives fewer than that."""
    tower = _text_tower(module)
    return tower.context_length if hasattr(tower, "positional_embedding") else None


def _random(architecture: str, options: Mapping[str, Any]) -> nn.Module:
    untrained = {"load_weights": False, "pretrained_image": False, "pretrained_text": False}
    text = _text_config(architecture)
    local = text is not None and "hf_model_name" not in text
    # Some text towers need a configuration from the hub, even with random weights.
    with fetching(f"open_clip:{architecture}", local=local):
        return _create(architecture, untrained, options)


def _sized(size: tuple[int, ...] | None, spec: str) -> dict[str, Any]:
    """Return the option of open_clip that makes the image tower for another size."""
    if size is None:
        return {}
    if len(size) == 3 and size[0] != 3:
        raise SpecError(f"{spec} takes images of 3 channels, not {size[0]}")
    height, width = size[-2:]
    return {"force_image_size": height if height == width else (height, width)}


def _with_checkpoint(
    adapter: OpenClipAdapter, architecture: str, path: str, spec: str, options: Mapping[str, Any]
) -> LoadedModel:
    if path.endswith((".npz", ".npy")):  # the original weights of JAX, which open_clip alone reads
        try:
            module = _create(architecture, {"pretrained": path}, options)
        except Exception as error:  # a truncated or foreign file can fail in any way
            raise unusable(path, spec, error) from error
        filled = Filled((), ())
    else:
        size = options.get("force_image_size")
        module = _random(architecture, options)
        tower: Any = getattr(module, "visual", None)
        later = size is not None and hasattr(tower, "set_input_size")  # towers of timm are resized with their weights
        if later:
            module = _random(architecture, {k: v for k, v in options.items() if k != "force_image_size"})
        filled = fill(module, path, spec, adapter.rules(module))
        if later:
            resized: Any = module
            resized.visual.set_input_size(size)
    loaded = describe(module.eval(), spec, pretrained=True)
    if filled.spared:
        notes = (*filled.notes, f"the file has no text tower ({listed(filled.spared)}): texts cannot be encoded")
        return replace(loaded, notes=notes)
    return replace(loaded, encode_text=TextEncoder(module, architecture, spec), notes=filled.notes)


def _converted(tensors: Tensors, module: nn.Module) -> Mapping[str, Tensor]:
    """Names of other releases, and position embeddings for other sizes, as open_clip's own loader changes them."""
    from open_clip.convert import convert_state_dict
    from open_clip.model import convert_to_custom_text_state_dict, resize_pos_embed, resize_text_pos_embed

    model: Any = module
    found: dict[str, Any] = dict(convert_state_dict(model, tensors))
    if "positional_embedding" in found and not hasattr(model, "positional_embedding"):
        found = dict(convert_to_custom_text_state_dict(found))
    for name in ("logit_scale", "logit_bias"):
        own = getattr(model, name, None)
        if name in found and own is not None:
            found[name] = found[name].reshape(own.shape)
    found.pop("text.transformer.embeddings.position_ids", None)
    resize_pos_embed(found, model)
    resize_text_pos_embed(found, model)
    return found
