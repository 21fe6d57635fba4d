"""timm: any model string, the embedding in front of the classifier, timm's own transforms."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from vitdecomp._utils.hub import fetching, first_line, local_file, quiet
from vitdecomp._utils.limits import check_configuration
from vitdecomp._utils.registry import did_you_mean
from vitdecomp.errors import SpecError
from vitdecomp.models.adapter import Adapter, Classifier, LoadedModel, call, own_spec, register_adapter
from vitdecomp_adapters import imagenet
from vitdecomp_adapters.checkpoint import Rules, fill, path_of, unusable

PLAIN = re.compile(r"[\w.-]+")  # a name in timm's own list
CHANNELS = (1, 3)  # what a photograph can be made into
SPACE_TO_DEPTH = 12  # from so many on, a first convolution reads pixels that were moved into channels
OWN = "(a model of your own: python:module:factory, or --import MODULE for the module that registers it with timm)"
WEIGHT_SOURCES = ("url", "file", "hf_hub_id", "state_dict")


def embedding(model: Any, images: Tensor) -> Tensor:
    """Compute the pooled features that the classifier reads, `(n, d)`."""
    pooled: Tensor = model.forward_head(model.forward_features(images), pre_logits=True)
    return pooled


def tokens(model: Any, images: Tensor) -> Tensor:
    """Compute all tokens `(n, token, d)`, or a map, in front of the pooling."""
    found: Tensor = model.forward_features(images)
    return found


OUTPUTS: Mapping[str, Callable[[Any, Tensor], Tensor]] = {"embedding": embedding, "logits": call}


@register_adapter
class TimmAdapter(Adapter):
    """Specs `timm:ARCHITECTURE[.TAG]`, as `timm.create_model` takes them."""

    prefix = "timm"

    def load(
        self, name: str, *, pretrained: bool, image_size: tuple[int, ...] | None = None, **options: Any
    ) -> LoadedModel:
        """Load a model; all options but `checkpoint_path` go to `timm.create_model`.

        Raises:
            SpecError: timm has no such model or tag, or the model does not take the options.
            LoadError: its weights cannot be had.
        """
        _check_name(name)
        spec, checkpoint = f"timm:{name}", options.pop("checkpoint_path", None)
        if checkpoint:
            module = _create(name, image_size, pretrained=False, **options)
            notes = _fill(self, module, local_file(checkpoint), spec, classes="num_classes" not in options)
            return describe(module.eval(), spec, pretrained=True, size=_size(image_size, options), notes=notes)
        if pretrained:
            with fetching(spec):
                module = _create(name, image_size, pretrained=True, **options)
        else:
            module = _create(name, image_size, pretrained=False, **options)
        # A backbone that a user registered may have no trained weights to load, or load them itself.
        trained = pretrained and (_has_weights(module) or None)
        return describe(module.eval(), spec, pretrained=trained, size=_size(image_size, options))

    def recognise(self, module: nn.Module) -> LoadedModel | None:
        """Recognize a module with timm's protocol: `forward` is `forward_features`, then `forward_head`."""
        if not _follows_protocol(module):
            return None
        cfg = getattr(module, "pretrained_cfg", None) or {}
        # Not its tag: timm sets the default one, whatever the weights are.
        name = cfg.get("architecture")
        return describe(module, f"timm:{name}" if name else own_spec(module), pretrained=None)

    def rules(self, module: nn.Module) -> Rules:
        """Return how files fit a model of timm: its own conversions of other releases, and a classifier of any size."""
        known: Any = module
        heads = (getattr(module, "pretrained_cfg", None) or {}).get("classifier") or ()
        heads = (heads,) if isinstance(heads, str) else tuple(heads)
        paths = {name for name, _ in module.named_modules()}
        if not heads and hasattr(module, "get_classifier"):  # made without `timm.create_model`
            heads = path_of(module, known.get_classifier())
        conversion = getattr(sys.modules.get(type(module).__module__), "checkpoint_filter_fn", None)
        return Rules(
            convert=conversion or Rules().convert,
            heads=tuple(head for head in heads if head in paths) if hasattr(module, "reset_classifier") else (),
            set_classes=lambda _, classes: known.num_classes == classes or known.reset_classifier(classes),
        )

    def names(self, pattern: str = "*") -> list[str]:
        """Architectures, or trained models if the pattern holds the dot in front of a tag."""
        import timm

        return list(timm.list_pretrained(pattern) if "." in pattern else timm.list_models(pattern))

    def family(self, name: str) -> str | None:
        """Return the module that defines the architecture."""
        from timm.models import is_model, model_entrypoint

        architecture = name.partition(".")[0]
        return model_entrypoint(architecture).__module__.rpartition(".")[2] if is_model(architecture) else None

    def class_words(self, class_id: str) -> str | None:
        """Return words for a WordNet id of ImageNet-1k, or of ImageNet-22k."""
        return imagenet.words(class_id)

    def defines(self, name: str) -> bool:
        """Check whether timm knows the architecture and the tag; it fetches weights of its own alone."""
        if not PLAIN.fullmatch(name):  # hf-hub:REPO and local-dir:PATH name a stranger's
            return False
        with suppress(SpecError):
            _check_name(name)
            return True
        return False


def describe(
    module: nn.Module,
    spec: str,
    *,
    pretrained: bool | None,
    size: tuple[int, ...] | None = None,
    notes: tuple[str, ...] = (),
) -> LoadedModel:
    """Describe a timm model with its outputs and the transforms that it was trained with.

    Args:
        module: the model.
        spec: its spec.
        pretrained: whether its weights are trained ones.
        size: `(height, width)` or `(channels, height, width)` that it was made for, if it does not tell.
        notes: on how it was loaded.
    """
    from timm import data

    library: Any = data  # its transforms are untyped
    config = library.resolve_model_data_config(module)
    *channels, height, width = size or _built_size(module) or config["input_size"][1:]
    shape = (channels[0] if channels else _channels(module, config["input_size"][0]), height, width)
    known = shape[0] in CHANNELS
    return LoadedModel(
        module,
        transform(config, shape) if known else None,
        spec,
        OUTPUTS,
        shape,
        pretrained,
        classifier=_classifier(module),
        preprocess_for=partial(transform, config) if known else None,
        notes=notes,
        tokens=tokens,
    )


def transform(config: Mapping[str, Any], size: tuple[int, ...]) -> Callable[[Any], Tensor]:
    """Build timm's own transform for evaluation with another size; for one channel, with the mean statistics.

    Raises:
        SpecError: channels that no photograph has.
    """
    from timm import data
    from torchvision import transforms

    library: Any = data
    if size[0] not in CHANNELS:
        raise SpecError(f"images of {size[0]} channels: pass preprocess=, their statistics are unknown")
    if size[0] == len(config["mean"]):
        made: Callable[[Any], Tensor] = library.create_transform(**{**config, "input_size": size}, is_training=False)
        return made
    statistics = {key: (sum(config[key]) / len(config[key]),) * size[0] for key in ("mean", "std")}
    steps = library.create_transform(**{**config, **statistics, "input_size": size}, is_training=False)
    return transforms.Compose([transforms.Grayscale(size[0]), *steps.transforms])  # type: ignore[no-any-return]


def _classifier(module: Any) -> Classifier | None:
    """Return the last layer, with the names that timm has for the classes of its data set."""
    from timm.data.imagenet_info import infer_imagenet_subset

    layer = module.get_classifier() if hasattr(module, "get_classifier") else None
    if not isinstance(layer, nn.Linear):
        return None
    subset = infer_imagenet_subset(module)
    info = imagenet.info_of(subset) if subset else None
    if info is None or info.num_classes() != layer.out_features:
        return Classifier(tuple(f"class {i}" for i in range(layer.out_features)), layer)
    return Classifier(tuple(info.label_descriptions()), layer, tuple(info.label_names()))


def _built_size(module: nn.Module) -> tuple[int, int] | None:
    """Return the image size that a model was built for, which need not be the one that its weights came with."""
    size = getattr(getattr(module, "patch_embed", None), "img_size", None)
    return (int(size[0]), int(size[1])) if isinstance(size, tuple) and len(size) == 2 else None


def _check_name(name: str) -> None:
    """Refuse what timm does not know before it is asked to build it."""
    import timm
    from timm.models import get_arch_pretrained_cfgs, split_model_name_tag

    if ":" in name:  # hf-hub:REPO and local-dir:PATH are read by timm itself
        check_configuration(Path(name.removeprefix("local-dir:")))
        return
    architecture, tag = split_model_name_tag(name)
    if not timm.is_model(architecture):
        near = did_you_mean(architecture, timm.list_models())
        raise SpecError(f"timm has no model {name!r}{near} {OWN}")
    trained = [n for n in timm.list_pretrained(f"{architecture}.*") if n.startswith(f"{architecture}.")]
    if tag and name not in trained and name not in get_arch_pretrained_cfgs(architecture):
        raise SpecError(f"timm has no weights {name!r}{did_you_mean(name, trained)}")


def _channels(module: nn.Module, default: int) -> int:
    """Channels of an image, told by the first convolution."""
    first = (getattr(module, "pretrained_cfg", None) or {}).get("first_conv")
    path = first if isinstance(first, str) else next(iter(first or ()), "patch_embed.proj")
    try:
        found = getattr(module.get_submodule(path), "in_channels", default)
    except AttributeError:
        return default
    return int(found) if found < SPACE_TO_DEPTH else default


def _size(image_size: tuple[int, ...] | None, options: Mapping[str, Any]) -> tuple[int, ...] | None:
    """Return the size and channels that a model was made for, if they were given in either way."""
    size = image_size or options.get("img_size")
    size = (size, size) if isinstance(size, int) else size
    channels = options.get("in_chans")
    return (channels, *size) if size and len(size) == 2 and channels else size


def _create(name: str, size: tuple[int, ...] | None, *, pretrained: bool, **options: Any) -> nn.Module:
    """Build a model, for a size where it depends on one."""
    if size is None:
        return _built(name, pretrained=pretrained, **options)
    *channels, height, width = size
    options = {**({"in_chans": channels[0]} if channels else {}), **options}
    try:
        return _built(name, pretrained=pretrained, img_size=(height, width), **options)
    except SpecError as error:
        if "unexpected keyword argument 'img_size'" not in str(error):
            raise
    return _built(name, pretrained=pretrained, **options)  # convolutions take any size


def _built(name: str, *, pretrained: bool, **options: Any) -> nn.Module:
    import timm

    try:
        with quiet():
            module: nn.Module = timm.create_model(name, pretrained=pretrained, **options)
    except Exception as error:  # sizes that a model cannot have show in any way
        # The download: of older hubs its errors are ValueErrors too.
        if pretrained and (
            isinstance(error, OSError) or not isinstance(error, (TypeError, ValueError, AssertionError))
        ):
            raise
        raise SpecError(f"timm cannot build {name} with {options or 'its defaults'}: {first_line(error)}") from error
    return module


def _fill(adapter: TimmAdapter, module: nn.Module, path: str, spec: str, *, classes: bool) -> tuple[str, ...]:
    """Give a new model the weights of a file; the original ones of JAX are read by timm alone."""
    from timm.models import load_checkpoint

    if not path.endswith((".npz", ".npy")):
        rules = adapter.rules(module)
        return fill(module, path, spec, rules if classes else replace(rules, heads=())).notes
    try:
        with quiet():
            load_checkpoint(module, path)
    except Exception as error:  # a truncated or foreign file can fail in any way
        raise unusable(path, spec, error) from error
    return ()


def _has_weights(module: nn.Module) -> bool:
    cfg = getattr(module, "pretrained_cfg", None) or {}
    return any(cfg.get(source) for source in WEIGHT_SOURCES)


def _follows_protocol(module: nn.Module) -> bool:
    """Check whether `forward` is made of timm's two halves; that of a subclass that adds to them is not."""
    if not all(callable(getattr(module, half, None)) for half in ("forward_features", "forward_head")):
        return False
    if "pre_logits" not in inspect.signature(module.forward_head).parameters:  # type: ignore[arg-type]
        return False
    owner = next(c for c in type(module).__mro__ if "forward" in vars(c))
    return owner.__module__.partition(".")[0] == "timm" or "forward_head" in vars(owner)
