"""The adapter for transformers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import nn

from vitdecomp._utils.hub import REMEDY, UNREACHED, fetching
from vitdecomp.errors import SpecError
from vitdecomp.models.adapter import Adapter, LoadedModel, own_spec, register_adapter
from vitdecomp_adapters.huggingface.describe import describe
from vitdecomp_adapters.huggingface.fitting import fitting
from vitdecomp_adapters.huggingface.library import check_adapters, find_place, is_model
from vitdecomp_adapters.huggingface.preprocessing import preprocessing
from vitdecomp_adapters.huggingface.readings import takes_images
from vitdecomp_adapters.huggingface.resizing import check_size, preprocess_for, resized, sized
from vitdecomp_adapters.huggingface.weights import (
    Filled,
    Renaming,
    check_options,
    configuration,
    with_weights,
    without_weights,
)

FOLDER = (
    "Give a folder that save_pretrained has written, or fill the hub cache where there is a network and set "
    "HF_HUB_OFFLINE=1"
)
IMAGE_AXES = 3  # channels, height, width


@register_adapter
class HuggingFaceAdapter(Adapter):
    """Specs `hf:REPO` or `hf:DIRECTORY`."""

    prefix = "hf"

    def load(
        self, name: str, *, pretrained: bool, image_size: tuple[int, ...] | None = None, **options: Any
    ) -> LoadedModel:
        """Load a model of images, videos or spectrograms.

        `checkpoint_path` is a directory, further options go to `from_pretrained`.

        Raises:
            SpecError: not a vision model of transformers.
            LoadError: transformers is missing, or the configuration or the weights cannot be had, or they do not fill
                what the embedding depends on.
        """
        spec, place = f"hf:{name}", options.pop("checkpoint_path", None)
        where, local = find_place(str(place or name), spec, local=place is not None)
        check_options(options, spec)
        unreached = f"{where} is no folder here, and {UNREACHED}"
        what = "trained weights" if pretrained else "configuration (random weights need it too)"
        with fetching(spec, local=local, what=what, remedy=REMEDY if pretrained else FOLDER, unreached=unreached):
            check_adapters(where, spec)
            config = configuration(where, spec)
            check_size(config, image_size, spec)
            processor = preprocessing(where)
            own = config if image_size is None else sized(config, image_size, spec)
            random = None if pretrained or place else without_weights(own, **options)

        def read(renaming: Renaming | None = None) -> Filled:
            with fetching(spec, local=local):
                filled = with_weights(where, config, renaming, **options)
            return filled if image_size is None else resized(filled, own, image_size, spec)

        def told(filled: Filled) -> LoadedModel:
            if not takes_images(filled.module):
                raise SpecError(
                    f"{spec} is a {type(filled.module).__name__}, which takes no images, videos or spectrograms"
                )
            loaded = describe(filled, spec, where, pretrained=random is None, preprocess=processor)
            if loaded.input_size and len(loaded.input_size) != IMAGE_AXES:  # no photograph becomes one of its inputs
                loaded = replace(loaded, preprocess=None)
            if image_size is None:
                return loaded
            shape = (loaded.input_size[0] if loaded.input_size else 3, *image_size[-2:])
            made = None if processor is None else preprocess_for(processor, shape, spec)
            return replace(loaded, preprocess=made, input_size=shape)

        return told(random) if random else fitting(read, told, spec)

    def recognise(self, module: nn.Module) -> LoadedModel | None:
        """Recognize a model of transformers for images, videos or spectrograms.

        Raises:
            SpecError: it takes images, and has no vector for an image alone.
        """
        if not is_model(module) or not takes_images(module):
            return None
        where = str(getattr(module, "name_or_path", ""))
        spec = f"hf:{where}" if where else own_spec(module)
        return describe(Filled(module, {}, frozenset()), spec, where, pretrained=None)
