"""ClipSpace: the space that a CLIP's texts and images share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import normalize as unit

from vitdecomp.errors import InputError, SpecError
from vitdecomp.images.opening import open_image
from vitdecomp.models.adapter import EncodeText, LoadedModel, as_loaded
from vitdecomp.models.prepare import ModelOptions, prepare, prepare_texts
from vitdecomp.models.preprocessing import DEFAULT_SIZE, as_tensor, preprocessing
from vitdecomp_alignment.clip.prompts import TEMPLATES, checked_templates, checked_texts, fill
from vitdecomp_alignment.clip.text_cache import TextCache
from vitdecomp_alignment.clip.zero_shot import ZeroShot

REMEMBERED = 2**16  # texts: 128 MiB of vectors of length 512


class ClipSpace:
    """Encoders of images and texts into one space, of any open_clip model and of CLIP and SigLIP in transformers.

    The model stays as it is: its mode, its place and the random state. Vectors are given in float32 at least, where
    the model is.

    Args:
        model: a spec such as `open_clip:ViT-B-16/laion2b_s34b_b88k`, or a model that is loaded already.
        device: where a model given by its spec runs: `auto`, `cpu`, `cuda`, ...; a loaded one stays where it is.
        batch_size: images or texts that are encoded together.
        pretrained: trained weights or random ones, for a model given by its spec.
        cache: folder where text vectors are kept; the memory alone if `None`.

    Attributes:
        reader: what reads texts: the model, or its text tower alone, with the same checksum of weights.

    Raises:
        SpecError: no such model or device, or the model has no text encoder.
        LoadError: the weights cannot be had.
    """

    def __init__(
        self,
        model: str | nn.Module | LoadedModel,
        *,
        device: str = "auto",
        batch_size: int = 64,
        pretrained: bool = True,
        cache: Path | str | None = None,
    ) -> None:
        if batch_size < 1:
            raise SpecError(f"the batch size must be positive, not {batch_size}")
        self._whole: LoadedModel | None = None
        if isinstance(model, str):
            self._options = ModelOptions(model, random_weights=not pretrained, device=device)
            self._read_texts_by(prepare_texts(self._options) or self.loaded)
        else:
            self._whole = as_loaded(model)
            self._read_texts_by(self._whole)
        self.batch_size = batch_size
        self.cache = None if cache is None else Path(cache)
        self._known: dict[str, Tensor] = {}
        self._weights: tuple[object, ...] = ()
        self._disk: TextCache | None = None

    def __repr__(self) -> str:
        return f"ClipSpace: {self.spec}, weights {self.reader.weights}"

    @property
    def spec(self) -> str:
        """The string that loads the model again."""
        return self.reader.spec

    @property
    def loaded(self) -> LoadedModel:
        """The whole model; one given by its spec is loaded when more than its texts is asked for."""
        if self._whole is None:
            self._whole = _load(self._options)
            self._read_texts_by(self._whole)
        return self._whole

    @cached_property
    def dimension(self) -> int:
        """Length of the vectors."""
        return self.encode_image(torch.zeros(1, *(self.loaded.input_size or DEFAULT_SIZE))).shape[1]

    def encode_image(
        self, images: Float[Tensor, "n channel height width"] | Sequence[Any], *, normalize: bool = True
    ) -> Float[Tensor, "n d"]:
        """Vectors of images.

        Args:
            images: preprocessed, as one tensor; or PIL images or paths, which the model's preprocessing is applied to.
            normalize: whether to divide the vectors by their norms.

        Raises:
            InputError: something else, nothing, or an image that cannot be read.
        """
        _check_images(images)
        weight = next(p for p in self.loaded.module.parameters() if p.is_floating_point())
        encode, parts = self.loaded.representation(), []
        with _at_rest(self.loaded.module):
            for start in range(0, len(images), self.batch_size):
                pixels = self._pixels(images[start : start + self.batch_size])
                parts.append(encode(pixels.to(weight)))
        vectors = _precise(torch.cat(parts))
        return unit(vectors, dim=1) if normalize else vectors

    def encode_text(
        self, texts: Sequence[str], *, templates: Sequence[str] | None = None, normalize: bool = True
    ) -> Float[Tensor, "n d"]:
        """Vectors of texts, each of which is encoded only once.

        With templates, a text's vector is the mean of the unit vectors of all its sentences, as for zero-shot
        classification in Radford et al., "Learning Transferable Visual Models From Natural Language Supervision"
        (2021).

        Args:
            texts: as they are, or what the gaps of the templates are filled with.
            templates: sentences with one `{}` each.
            normalize: whether to divide the vectors by their norms.

        Raises:
            InputError: not a sequence of strings, or an empty one.
            SpecError: a template without a gap.
            LoadError: the model's tokenizer cannot be had.
            OutputError: the cache cannot be written, and is not in the standard place.
        """
        texts = checked_texts(texts)
        templates = None if templates is None else checked_templates(templates)
        self._forget_other_weights()
        if self.cache is None:
            vectors = self._combined(texts, templates)
        else:
            self._disk = self._disk or TextCache(self.cache, self.reader)
            vectors = self._disk.get(texts, templates, lambda: self._combined(texts, templates))
        vectors = vectors.to(next(self.reader.module.parameters()).device)
        return unit(vectors, dim=1) if normalize else vectors

    def zero_shot(self, classes: Sequence[str], templates: Sequence[str] = TEMPLATES) -> ZeroShot:
        """Build a classifier of representations in this space from the names of the classes.

        Args:
            classes: their names.
            templates: sentences with one `{}` each, such as `vitdecomp_alignment.clip.prompts.PLAIN`.

        Raises:
            InputError, LoadError, SpecError: as for `encode_text`.
        """
        return ZeroShot(tuple(classes), self.encode_text(classes, templates=templates))

    def _read_texts_by(self, reader: LoadedModel) -> None:
        self.reader, self._tower = reader, _text_tower(reader)

    def _pixels(self, images: Tensor | Sequence[Any]) -> Tensor:
        """Prepare images as the model takes them."""
        if isinstance(images, Tensor):
            return images
        preprocess = preprocessing(self.loaded)
        opened = [image if isinstance(image, Image.Image) else open_image(Path(image)) for image in images]
        return torch.stack([as_tensor(preprocess, image) for image in opened])

    def _combined(self, texts: Sequence[str], templates: Sequence[str] | None) -> Tensor:
        """Encode texts alone, or average over templates."""
        if templates is None:
            return self._encoded(texts)
        sentences = unit(self._encoded(fill(texts, templates)), dim=1)
        return sentences.reshape(len(texts), len(templates), -1).mean(1)

    def _encoded(self, texts: Sequence[str]) -> Tensor:
        """Encode by the text tower, from memory where it can."""
        missing = [text for text in dict.fromkeys(texts) if text not in self._known]
        with _at_rest(self.reader.module):
            for start in range(0, len(missing), self.batch_size):
                batch = missing[start : start + self.batch_size]
                self._known.update(zip(batch, _precise(self._tower(batch)), strict=True))
        vectors = torch.stack([self._known[text] for text in texts])
        for oldest in list(self._known)[:-REMEMBERED]:
            del self._known[oldest]
        return vectors

    def _forget_other_weights(self) -> None:
        """Drop all vectors of the model as it was before it was trained, moved or converted."""
        module = self.reader.module
        weights = tuple((t.data_ptr(), t._version, t.dtype) for t in chain(module.parameters(), module.buffers()))
        if weights != self._weights:
            self._weights, self._disk = weights, None
            self._known.clear()


def _load(options: ModelOptions) -> LoadedModel:
    """Load a model on a device; the random state stays as it is."""
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        return prepare(options).loaded


def _text_tower(loaded: LoadedModel) -> EncodeText:
    if loaded.encode_text is None:
        raise SpecError(
            f"{loaded.spec} has no text encoder, or an unknown tokenizer: give a CLIP by its spec, "
            "such as open_clip:ViT-B-16/laion2b_s34b_b88k"
        )
    return loaded.encode_text


@contextmanager
def _at_rest(module: nn.Module) -> Iterator[None]:
    """Hold evaluation mode without gradients; restore every flag."""
    training = [part for part in module.modules() if part.training]
    with torch.no_grad():
        try:
            for part in training:
                part.training = False
            yield
        finally:
            for part in training:
                part.training = True


def _precise(vectors: Tensor) -> Tensor:
    """In float32 at least: in half precision a vector divided by its norm is no unit vector."""
    return vectors.to(torch.promote_types(vectors.dtype, torch.float32))


def _check_images(images: object) -> None:
    if isinstance(images, Tensor):
        usable = images.ndim == 4 and images.is_floating_point()
    else:
        usable = isinstance(images, (list, tuple)) and all(isinstance(i, (Image.Image, Path, str)) for i in images)
    if not usable:
        got = f"{images.dtype} {tuple(images.shape)}" if isinstance(images, Tensor) else type(images).__name__
        raise InputError(
            f"images must be a float tensor (n, 3, height, width), or a list of PIL images or paths, not {got}"
        )
    if not len(images):  # type: ignore[arg-type]
        raise InputError("no images: give at least one")
