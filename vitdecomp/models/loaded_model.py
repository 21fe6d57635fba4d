"""A model with what is needed to use it, and the module that computes one of its vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol, TypeAlias, runtime_checkable

from torch import Tensor, nn

from vitdecomp._utils.registry import did_you_mean
from vitdecomp._utils.summary import summary
from vitdecomp.errors import SpecError
from vitdecomp.models.inner import has_module, output_of
from vitdecomp.models.outputs import JOINED, Compute, Output, call, check_function, joined, part_of_result
from vitdecomp.models.positions import at, parsed, split
from vitdecomp.models.wrappers import refuse_torchscript

EncodeText: TypeAlias = Callable[[Sequence[str]], Tensor]
"""Texts to vectors in the space that images are compared in, `(n, d)`."""
ImageSize: TypeAlias = "tuple[int, ...]"  # (channels, height, width)
TOKENS = "tokens"
OWN_OUTPUT: Mapping[str, Compute] = MappingProxyType({"embedding": call})
WEIGHTS = MappingProxyType({True: "trained", False: "random", None: "as the module came, trained or not"})


@runtime_checkable
class TextEncoder(Protocol):
    """Gives texts vectors in the space that images are compared in, such as `ClipSpace`."""

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Return one vector for each text, `(text, d)`."""
        ...


def as_encoder(encoder: EncodeText | TextEncoder | None) -> EncodeText | None:
    """Return the function of an encoder that is given as an object."""
    return encoder.encode_text if isinstance(encoder, TextEncoder) else encoder


class Representation(nn.Module):
    """A module whose output is one of the vectors that a model computes for each image.

    Args:
        model: the user's model; its weights are shared.
        compute: how the model makes `(n, d)` vectors from images.
    """

    def __init__(self, model: nn.Module, compute: Compute) -> None:
        super().__init__()
        self.model = model
        self.compute = compute
        self.training = model.training  # its own flag alone: train() would reach into the user's model
        self.prefix = f"model.{getattr(model, 'prefix', '')}"  # of the model's own modules

    def forward(self, images: Tensor) -> Any:
        """Images to vectors, `(n, d)`, if the model is what it should be."""
        return self.compute(self.model, images)


@dataclass(frozen=True, slots=True)
class Classifier:
    """The linear layer that a model ends in, on the embedding.

    Attributes:
        names: of the classes.
        layer: embeddings to logits; its rows are the classes' vectors.
        ids: of the classes, in which data sets name theirs: those of WordNet for ImageNet; empty if there are none.
    """

    names: tuple[str, ...]
    layer: nn.Linear
    ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model with what is needed to use it.

    Attributes:
        module: the model itself.
        preprocess: a PIL image to the tensor that the model expects, `(channels, height, width)`; `None` if unknown.
        spec: the string that loads the model again, such as `timm:vit_base_patch16_224`.
        outputs: the vectors that it offers, by name; `embedding` is always among them.
        input_size: shape of one image, if known.
        pretrained: whether the weights are trained ones; `None` where nobody knows, as for a module of the user's.
        encode_text: texts to vectors in the space of the embedding, `(n, d)`, unnormalised, by the module wherever it
            is now; `None` where the model has no text tower, or nobody knows its tokenizer.
        classifier: what reads classes from the embedding; `None` where there is none, or it is no linear layer.
        preprocess_for: the same preprocessing for images of another `(channels, height, width)`; `None` if unknown.
        notes: what a user has to know of how the model was loaded, in one sentence each.
        tokens: all tokens or the map in front of the pooling, of which `output="tokens[0]"` takes some.
    """

    module: nn.Module
    preprocess: Callable[[Any], Tensor] | None
    spec: str
    outputs: Mapping[str, Compute] = field(default_factory=lambda: OWN_OUTPUT)
    input_size: ImageSize | None = None
    pretrained: bool | None = None
    encode_text: EncodeText | None = None
    classifier: Classifier | None = None
    preprocess_for: Callable[[ImageSize], Callable[[Any], Tensor]] | None = None
    notes: tuple[str, ...] = ()
    tokens: Compute | None = None

    def __repr__(self) -> str:
        parameters = sum(p.numel() for p in self.module.parameters())
        told = {
            "module": f"{type(self.module).__name__}, {parameters:,} parameters",
            "weights": self.weights,
            "outputs": ", ".join(self.outputs),
            "image": self.input_size and " x ".join(map(str, self.input_size)),
            "preprocessing": self.preprocess,
            "texts": "yes" if self.encode_text is not None else None,
            "classes": self.classifier and len(self.classifier.names),
            "notes": "; ".join(self.notes) or None,
        }
        return summary(f"LoadedModel: {self.spec}", told)

    @property
    def weights(self) -> str:
        """Where the weights come from, in words."""
        return WEIGHTS[self.pretrained]

    def representation(self, output: Output = "embedding") -> Representation:
        """Build the module that computes one of the outputs.

        Args:
            output: one of `outputs`, or the path of a module inside, with positions in brackets where that returns
                tokens or a map (`blocks.8[0]`, `tokens[(2, 3), (4, 5)]`, `blocks.8[patches]`), and several of them with
                `+`; or a function `(module, images) -> (n, d)`; or, for a module of no known library, the key,
                attribute or index of a part of what the module returns, with dots to go deeper.

        Raises:
            SpecError: the model offers no such output, or is TorchScript; a function takes other arguments.
        """
        refuse_torchscript(self.module)
        return Representation(self.module, self._compute(output))

    def _compute(self, output: Output) -> Compute:
        if callable(output):
            check_function(output)
            return output
        parts = [self._part(part) for part in str(output).split(JOINED)]
        return parts[0] if len(parts) == 1 else joined(parts)

    def _part(self, output: str) -> Compute:
        name, which = split(output)
        compute = self._whole(name)
        if which is None:
            return compute
        parsed(which)
        return lambda model, images: at(compute(model, images), which, images)

    def _whole(self, output: str) -> Compute:
        known = self.outputs if self.tokens is None else {**self.outputs, TOKENS: self.tokens}
        if output in known:
            return known[output]
        inner = output_of(output, self.outputs["embedding"]) if has_module(self.module, output) else None
        if self.outputs is OWN_OUTPUT:
            return part_of_result(output, inner)
        if inner is not None:
            return inner
        paths = [path for path, _ in self.module.named_modules() if path]
        raise SpecError(f"{self.spec} has no output {output!r}{did_you_mean(output, [*known, *paths])}")
