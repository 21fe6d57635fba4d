"""timm: any model string, the embedding in front of the classifier, timm's own transforms."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from torch import Tensor, nn

from vitdecomp.adapter import Adapter, Classifier, LoadedModel, call, own_spec, register_adapter
from vitdecomp.errors import SpecError
from vitdecomp.registry import did_you_mean
from vitdecomp_adapters.hub import fetching, first_line, local_file, quiet, unusable

PLAIN = re.compile(r"[\w.-]+")  # a name in timm's own list
WEIGHT_SOURCES = ("url", "file", "hf_hub_id", "state_dict")


def embedding(model: Any, images: Tensor) -> Tensor:
    """The pooled features that the classifier reads, `(n, d)`."""
    pooled: Tensor = model.forward_head(model.forward_features(images), pre_logits=True)
    return pooled


OUTPUTS: Mapping[str, Callable[[Any, Tensor], Tensor]] = {"embedding": embedding, "logits": call}


@register_adapter
class TimmAdapter(Adapter):
    """Specs `timm:ARCHITECTURE[.TAG]`, as `timm.create_model` takes them."""

    prefix = "timm"

    def load(self, name: str, *, pretrained: bool, **options: Any) -> LoadedModel:
        """Load a model; `checkpoint_path` and all further options go to `timm.create_model`.

        Raises:
            SpecError: timm has no such model or tag, or the model does not take the options.
            LoadError: its weights cannot be had.
        """
        _check_name(name)
        checkpoint = options.get("checkpoint_path")
        if checkpoint:
            module = _with_checkpoint(name, local_file(checkpoint), options)
        elif pretrained:
            with fetching(f"timm:{name}"):
                module = _create(name, pretrained=True, **options)
        else:
            module = _create(name, pretrained=False, **options)
        # A backbone that a user registered may have no trained weights to load, or load them itself.
        trained = bool(checkpoint) or (pretrained and (_has_weights(module) or None))
        return describe(module.eval(), f"timm:{name}", pretrained=trained)

    def recognise(self, module: nn.Module) -> LoadedModel | None:
        """A module with timm's protocol: `forward` is `forward_features`, then `forward_head`."""
        if not _follows_protocol(module):
            return None
        cfg = getattr(module, "pretrained_cfg", None) or {}
        # Not its tag: timm sets the default one, whatever the weights are.
        name = cfg.get("architecture")
        return describe(module, f"timm:{name}" if name else own_spec(module), pretrained=None)

    def names(self, pattern: str = "*") -> list[str]:
        """Architectures, or trained models if the pattern holds the dot in front of a tag."""
        import timm

        return list(timm.list_pretrained(pattern) if "." in pattern else timm.list_models(pattern))

    def defines(self, name: str) -> bool:
        """Whether timm knows the architecture and the tag; it fetches weights of its own alone."""
        if not PLAIN.fullmatch(name):  # hf-hub:REPO and local-dir:PATH name a stranger's
            return False
        with suppress(SpecError):
            _check_name(name)
            return True
        return False


def describe(module: nn.Module, spec: str, *, pretrained: bool | None) -> LoadedModel:
    """A timm model with its outputs and the transforms that it was trained with."""
    from timm import data

    library: Any = data  # its transforms are untyped
    config = library.resolve_model_data_config(module)
    size = _built_size(module)
    if size is not None:
        config["input_size"] = (config["input_size"][0], *size)
    preprocess = library.create_transform(**config, is_training=False)
    shape, classifier = tuple(config["input_size"]), _classifier(module)
    return LoadedModel(module, preprocess, spec, OUTPUTS, shape, pretrained, classifier=classifier)


def _classifier(module: Any) -> Classifier | None:
    """The last layer, with the names that timm has for the classes of its data set."""
    from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset

    layer = module.get_classifier() if hasattr(module, "get_classifier") else None
    if not isinstance(layer, nn.Linear):
        return None
    subset = infer_imagenet_subset(module)
    names = tuple(ImageNetInfo(subset).label_descriptions()) if subset else ()
    if len(names) != layer.out_features:
        names = tuple(f"class {i}" for i in range(layer.out_features))
    return Classifier(names, layer)


def _built_size(module: nn.Module) -> tuple[int, int] | None:
    """The image size that a model was built for, which need not be the one that its weights came with."""
    size = getattr(getattr(module, "patch_embed", None), "img_size", None)
    return (int(size[0]), int(size[1])) if isinstance(size, tuple) and len(size) == 2 else None


def _check_name(name: str) -> None:
    """Refuse what timm does not know before it is asked to build it."""
    import timm
    from timm.models import get_arch_pretrained_cfgs, split_model_name_tag

    if ":" in name:  # hf-hub:REPO and local-dir:PATH are read by timm itself
        return
    architecture, tag = split_model_name_tag(name)
    if not timm.is_model(architecture):
        raise SpecError(f"timm has no model {name!r}{did_you_mean(architecture, timm.list_models())}")
    trained = [n for n in timm.list_pretrained(f"{architecture}.*") if n.startswith(f"{architecture}.")]
    if tag and name not in trained and name not in get_arch_pretrained_cfgs(architecture):
        raise SpecError(f"timm has no weights {name!r}{did_you_mean(name, trained)}")


def _create(name: str, *, pretrained: bool, **options: Any) -> nn.Module:
    import timm

    try:
        with quiet():
            module: nn.Module = timm.create_model(name, pretrained=pretrained, **options)
    except (TypeError, ValueError, AssertionError) as error:
        raise SpecError(f"timm cannot build {name} with {options or 'its defaults'}: {first_line(error)}") from error
    return module


def _with_checkpoint(name: str, path: str, options: Mapping[str, Any]) -> nn.Module:
    try:
        return _create(name, pretrained=False, **{**options, "checkpoint_path": path})
    except SpecError:
        raise
    except Exception as error:  # a truncated or foreign file can fail in any way
        raise unusable(path, f"timm:{name}", error) from error


def _has_weights(module: nn.Module) -> bool:
    cfg = getattr(module, "pretrained_cfg", None) or {}
    return any(cfg.get(source) for source in WEIGHT_SOURCES)


def _follows_protocol(module: nn.Module) -> bool:
    """Whether `forward` is made of timm's two halves; that of a subclass that adds to them is not."""
    if not all(callable(getattr(module, half, None)) for half in ("forward_features", "forward_head")):
        return False
    if "pre_logits" not in inspect.signature(module.forward_head).parameters:  # type: ignore[arg-type]
        return False
    owner = next(c for c in type(module).__mro__ if "forward" in vars(c))
    return owner.__module__.partition(".")[0] == "timm" or "forward_head" in vars(owner)
