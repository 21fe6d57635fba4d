"""Hugging Face transformers: vision models, and both towers of CLIP and SigLIP."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from vitdecomp.adapter import Adapter, LoadedModel, register_adapter
from vitdecomp.errors import InputError, LoadError, SpecError
from vitdecomp_adapters.hub import TOKENIZER_REMEDY, check_vocabulary, fetching, first_line

SAFE = {"trust_remote_code": False}  # no model repository's code is ever run
SHARED_SPACE = ("clip", "siglip")  # types of models whose texts and images share a space


def embedding(model: Any, images: Tensor) -> Tensor:
    """The pooled output, or the first token where the model has no pooling, `(n, d)`."""
    if hasattr(model, "get_image_features"):
        return pooled(model.get_image_features(pixel_values=images))
    return pooled(model.base_model(pixel_values=images))


def logits(model: Any, images: Tensor) -> Tensor:
    """The classifier's output."""
    result: Tensor = model(pixel_values=images).logits
    return result


def pooled(out: Any) -> Tensor:
    """One vector per image out of what a model returns.

    Raises:
        InputError: there is none.
    """
    if isinstance(out, Tensor):
        return out
    for key, vector in _VECTORS.items():
        value = getattr(out, key, None)
        if value is not None:
            result: Tensor = vector(value)
            return result
    raise InputError(f"{type(out).__name__} holds no vector per image")


_VECTORS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "image_embeds": lambda x: x,
    "pooler_output": lambda x: x.flatten(1),  # convolutional models keep (n, d, 1, 1)
    "last_hidden_state": lambda x: x[:, 0] if x.ndim == 3 else x.mean((2, 3)),
}


@register_adapter
class HuggingFaceAdapter(Adapter):
    """Specs `hf:REPO` or `hf:DIRECTORY`."""

    prefix = "hf"

    def load(self, name: str, *, pretrained: bool, **options: Any) -> LoadedModel:
        """Load a vision model; `checkpoint_path` is a directory, further options go to `from_pretrained`.

        Raises:
            SpecError: not a vision model of transformers.
            LoadError: transformers is missing, or the configuration or the weights cannot be had.
        """
        transformers = _transformers()
        spec, where = f"hf:{name}", str(options.pop("checkpoint_path", None) or name)
        pretrained = pretrained or where != name
        with fetching(spec, local=Path(where).is_dir()):
            config = _config(transformers, where, spec)
            if pretrained:
                module = transformers.AutoModel.from_pretrained(where, config=config, **SAFE, **options)
            else:
                module = transformers.AutoModel.from_config(config, **SAFE, **options)
            processor = _processor(transformers, where)
        loaded = describe(module.eval(), spec, pretrained=pretrained, preprocess=processor)
        if loaded is None:
            raise SpecError(f"{spec} is a {type(module).__name__}, which takes no images")
        return replace(loaded, encode_text=text_encoder(module, where, spec))

    def recognise(self, module: nn.Module) -> LoadedModel | None:
        """A vision model of transformers."""
        if not any(
            c.__name__ == "PreTrainedModel" and c.__module__.startswith("transformers.") for c in type(module).__mro__
        ):
            return None
        where = str(getattr(module, "name_or_path", ""))
        spec = f"hf:{where}" if where else f"python:{type(module).__module__}:{type(module).__qualname__}"
        loaded = describe(module, spec, pretrained=False)
        return loaded and replace(loaded, encode_text=text_encoder(module, where, spec))


def describe(
    module: Any, spec: str, *, pretrained: bool, preprocess: Callable[[Any], Tensor] | None = None
) -> LoadedModel | None:
    """A model with its outputs, or `None` if it takes no images."""
    if not hasattr(module, "get_image_features") and module.main_input_name != "pixel_values":
        return None
    classifies = type(module).__name__.endswith("ForImageClassification")
    outputs = {"embedding": embedding, **({"logits": logits} if classifies else {})}
    return LoadedModel(module, preprocess, spec, outputs, _input_size(module.config), pretrained)


class TextEncoder:
    """The text tower of a CLIP or SigLIP, with the tokenizer of its repository.

    Args:
        module: the model.
        where: repository or directory with the tokenizer.
        spec: for messages.
    """

    def __init__(self, module: nn.Module, where: str, spec: str) -> None:
        self.module, self.where, self.spec = module, where, spec

    def __call__(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """Texts to vectors in the space shared with images; their norm is left as it is.

        Raises:
            LoadError: the tokenizer cannot be had.
        """
        model: Any = self.module
        length = model.config.text_config.max_position_embeddings
        # SigLIP was trained on texts filled up to the whole length; for CLIP it makes no difference.
        tokens = self.tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        )
        return pooled(model.get_text_features(**tokens.to(model.device)))

    @cached_property
    def tokenizer(self) -> Any:
        """The repository's tokenizer; had on first use, since images do without."""
        transformers, local = _transformers(), Path(self.where).is_dir()
        with fetching(self.spec, local=local, what="tokenizer files", remedy=TOKENIZER_REMEDY):
            tokenizer = transformers.AutoTokenizer.from_pretrained(self.where, **SAFE)
            config: Any = self.module.config
            check_vocabulary(tokenizer, config.text_config.vocab_size)
        return tokenizer


def text_encoder(module: Any, where: str, spec: str) -> TextEncoder | None:
    """The text tower, or `None` if there is none or its tokenizer is nowhere."""
    has_one = hasattr(module, "get_text_features") and module.config.model_type in SHARED_SPACE
    return TextEncoder(module, where, spec) if where and has_one else None


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise LoadError("hf: models need the package transformers: pip install transformers") from error
    return transformers


def _config(transformers: Any, where: str, spec: str) -> Any:
    """The configuration; a repository that brings its own code is refused."""
    try:
        return transformers.AutoConfig.from_pretrained(where, **SAFE)
    except ValueError as error:
        raise SpecError(f"{spec} is no model of transformers: {first_line(error)}") from error


def _processor(transformers: Any, where: str) -> Callable[[Any], Tensor] | None:
    """The image processor as a function of one image; `None` where a repository has none."""
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(where, **SAFE)
    except (OSError, ValueError):
        return None

    return Preprocess(processor)


class Preprocess:
    """An image processor of transformers as a function of one image, which other processes can be given."""

    def __init__(self, processor: Any) -> None:
        self.processor = processor

    def __call__(self, image: Any) -> Tensor:
        """A photograph to a tensor `(channels, height, width)`."""
        result: Tensor = self.processor(images=image, return_tensors="pt")["pixel_values"][0]
        return result

    def __repr__(self) -> str:
        return repr(self.processor)


def _input_size(config: Any) -> tuple[int, ...] | None:
    vision = getattr(config, "vision_config", config)
    size, channels = getattr(vision, "image_size", None), getattr(vision, "num_channels", 3)
    if size is None:
        return None
    return (channels, *size) if isinstance(size, (list, tuple)) else (channels, size, size)
