"""What every step of the demo is given."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from vitdecomp.demo.subject import Subject
from vitdecomp.demo.world import World

CLIP = "scenes:clip"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Options:
    """What the user asked for.

    Attributes:
        model: a spec; the embedded models by default. images: a folder; the embedded world by default.
        seed: of the scenes and of random weights. random_weights: instead of trained ones.
        clip: the model whose texts name components; for the embedded world the embedded one by default.
        checkpoint: a local file with the weights of `model`. image_size: of `model`, in place of its own.
        strict: stop at the first image that cannot be read, instead of skipping it.
    """

    model: str | None = None
    images: Path | None = None
    seed: int = 0
    random_weights: bool = False
    clip: str | None = None
    checkpoint: Path | None = None
    image_size: str | None = None
    strict: bool = False

    @property
    def speaker(self) -> str | None:
        """The model whose texts are used, if there is one."""
        return self.clip or (None if self.images else CLIP)

    @property
    def command(self) -> str:
        """The command that asks for the same."""
        words = ["vitdecomp", "demo"]
        words += ["--model", self.model] if self.model else []
        words += ["--images", str(self.images)] if self.images else []
        words += ["--clip", self.clip] if self.clip else []
        words += ["--checkpoint", str(self.checkpoint)] if self.checkpoint else []
        words += ["--image-size", self.image_size] if self.image_size else []
        words += ["--random-weights"] if self.random_weights else []
        words += ["--strict"] if self.strict else []
        return shlex.join([*words, "--seed", str(self.seed), "--out", "demo-out"])


@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """The pictures and the decomposed models.

    Attributes:
        options: what was asked for. world: the pictures. subjects: the models, the featured one first.
        found: what steps have left for later ones.
    """

    options: Options
    world: World
    subjects: tuple[Subject, ...]
    found: dict[str, Any] = field(default_factory=dict)

    def once(self, name: str, make: Callable[[], T]) -> T:
        """Make what several steps need, once."""
        if name not in self.found:
            self.found[name] = make()
        made: T = self.found[name]
        return made

    @property
    def featured(self) -> Subject:
        """The model that is shown in detail."""
        return self.subjects[0]
