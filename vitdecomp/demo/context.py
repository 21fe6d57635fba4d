"""What every step of the demo is given."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from vitdecomp.demo.subject import Subject
from vitdecomp.demo.world import World

CLIP = "scenes:clip"


@dataclass(frozen=True, slots=True)
class Options:
    """What the user asked for.

    Attributes:
        model: a spec; the embedded models by default. images: a folder; the embedded world by default.
        seed: of the scenes and of random weights. random_weights: instead of trained ones.
        clip: the model whose texts name components; for the embedded world the embedded one by default.
    """

    model: str | None = None
    images: Path | None = None
    seed: int = 0
    random_weights: bool = False
    clip: str | None = None

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
        words += ["--random-weights"] if self.random_weights else []
        return shlex.join([*words, "--seed", str(self.seed), "--out", "demo-out"])


@dataclass(frozen=True, slots=True)
class Context:
    """The pictures and the decomposed models.

    Attributes:
        options: what was asked for. world: the pictures. subjects: the models, the featured one first.
    """

    options: Options
    world: World
    subjects: tuple[Subject, ...]

    @property
    def featured(self) -> Subject:
        """The model that is shown in detail."""
        return self.subjects[0]
