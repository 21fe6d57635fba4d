"""What is explained of each image with a mask: its class, as a text or a class of the model, or what the user names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vitdecomp.datasets.masks import MaskedImage
from vitdecomp.errors import SpecError
from vitdecomp.heatmaps.directions import class_number
from vitdecomp.models.adapter import class_words
from vitdecomp.models.loaded_model import Classifier, LoadedModel
from vitdecomp_alignment.cli.text_space import MAPS_OR_CLASS
from vitdecomp_alignment.clip.prompts import GAP
from vitdecomp_alignment.clip.space import ClipSpace

PHOTO = f"a photo of a {GAP}"
PREDICTED = "the class that the model predicts"


@dataclass(frozen=True, slots=True)
class TargetConfig:
    """Say what is explained, as the command line has it.

    Raises:
        SpecError: several answers to the same question.
    """

    text: str | None
    named: str | None
    minus: str | None
    predicted: bool

    def __post_init__(self) -> None:
        """Refuse what cannot be had together."""
        whole = self.text is not None and GAP not in self.text
        given = {"--text without {}": whole, "--class": self.named is not None, "--predicted": self.predicted}
        chosen = [flag for flag, yes in given.items() if yes]
        if len(chosen) > 1:
            raise SpecError(f"{' and '.join(chosen)} both say what is explained: give one of them")
        if self.predicted and self.text is not None:
            raise SpecError("--text is for models that read texts, --predicted for classes: give one of them")


@dataclass(frozen=True, slots=True)
class Targets:
    """Directions of scores, and which of them belongs to which image.

    Attributes:
        told: what is explained, in words.
        vectors: the directions, in the space of the representation or, with maps, of the texts.
        rows: the direction of each class of the masks; `None`: that of the class which the model predicts.
        classifier: whose classes the directions are, by their numbers; `None` for texts.
        minus: the class that is subtracted from each of them.
    """

    told: str
    vectors: Float[Tensor, "target d"]
    rows: Mapping[str | None, int] | None
    classifier: Classifier | None = None
    minus: int | None = None

    def of(self, records: Sequence[MaskedImage], represent: Callable[[], Tensor]) -> Int64[Tensor, " n"]:
        """Find the direction of each of some images, whose representations are computed if they are needed."""
        if self.rows is not None:
            return torch.tensor([self.rows[record.class_name] for record in records], device=self.vectors.device)
        assert self.classifier is not None
        with torch.no_grad():
            logits: Tensor = self.classifier.layer(represent())
        return logits.argmax(1)


def read_targets(
    config: TargetConfig, names: Sequence[str | None], loaded: LoadedModel, space: ClipSpace | None
) -> Targets:
    """Find out what is explained.

    Args:
        config: what the user says.
        names: the classes of the masks, each once.
        loaded: the model.
        space: whose texts are read, if any are.

    Raises:
        SpecError: a class that the model does not have, masks without classes, or nothing that could be explained.
    """
    if space is not None and not config.predicted:
        return _texts(config, names, space)
    if config.text is not None:
        raise SpecError(f"{loaded.spec} reads no texts: {MAPS_OR_CLASS}")
    if loaded.classifier is None:
        remedy = "leave out --predicted" if space is not None else "give --maps, which vitdecomp align writes"
        raise SpecError(f"{loaded.spec} has no classes that could be explained: {remedy}")
    return _classes(config, names, loaded.classifier, loaded.spec)


def _texts(config: TargetConfig, names: Sequence[str | None], space: ClipSpace) -> Targets:
    template = PHOTO if config.text is None else config.text
    if GAP in template and config.named is None and None in names:
        raise SpecError("these masks have no classes that a text could name: give --text or --class")
    words = {name: _words(name if config.named is None else config.named) for name in names}
    asked = {name: template.replace(GAP, word) for name, word in words.items()}
    texts = list(dict.fromkeys(asked.values()))
    vectors = space.encode_text(texts)
    if config.minus is not None:
        vectors = vectors - space.encode_text([config.minus])
    if GAP not in template or config.named is not None:
        told = f'the text "{texts[0]}"'
    else:
        told = f'the text "{template}" with the class of each mask'
    return Targets(_less(told, config), vectors, {name: texts.index(text) for name, text in asked.items()})


def _classes(config: TargetConfig, names: Sequence[str | None], classifier: Classifier, spec: str) -> Targets:
    weight = classifier.layer.weight.detach()
    minus = None if config.minus is None else class_number(classifier, config.minus, spec)
    vectors = weight if minus is None else weight - weight[minus]
    if config.named is not None:
        rows: Mapping[str | None, int] | None = dict.fromkeys(names, class_number(classifier, config.named, spec))
        told = f"the class {config.named}"
    elif config.predicted or set(names) == {None}:
        rows, told = None, PREDICTED
    else:
        rows, told = {name: _number(classifier, name, spec) for name in names}, "the class of each mask"
    return Targets(_less(told, config), vectors, rows, classifier, minus)


def _number(classifier: Classifier, name: str | None, spec: str) -> int:
    """Find the class of a mask."""
    remedy = "(--predicted explains the class that the model predicts, --class the same for all images)"
    if name is None:
        raise SpecError(f"some of these masks have no class {remedy}")
    try:
        return class_number(classifier, name, spec)
    except SpecError as error:
        raise SpecError(f"{error} {remedy}") from None


def _words(name: str | None) -> str:
    """Return the words for the name of a class: a WordNet id, or one that a folder has."""
    return "" if name is None else class_words(name).replace("_", " ")


def _less(told: str, config: TargetConfig) -> str:
    return told if config.minus is None else f"{told}, minus {config.minus}"
