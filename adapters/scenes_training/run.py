"""A training run from the first step to the last, which an interruption does not spoil."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from scenes_training import checkpoint
from scenes_training.objectives import Objective
from scenes_training.optimizer import Optimizer
from scenes_training.pictures import Pictures
from scenes_training.recipes import Recipe
from vitdecomp.errors import LoadError

Progress = Callable[[int, int, float], object]  # steps done, steps in all, loss


@dataclass
class Run:
    """One model on its way.

    Attributes:
        name: which. recipe, seed: what decides the result, on one machine. state: where it is kept meanwhile.
        seconds: spent so far, those before an interruption included.
    """

    name: str
    recipe: Recipe
    seed: int
    objective: Objective
    pictures: Pictures
    state: Path
    device: torch.device
    every: int = 200
    seconds: float = 0.0
    commit: str = "unknown"

    def __post_init__(self) -> None:
        self.objective.to(self.device).train()
        self.optimizer = Optimizer(self.objective.learned(), self.recipe)
        self.commit = commit_of_sources()  # at the start: the sources may move on while the run goes

    @property
    def identity(self) -> str:
        """What must be the same for a run to go on."""
        return f"{self.name}, seed {self.seed}, {asdict(self.recipe)}"

    def __call__(self, progress: Progress) -> nn.Module:
        """Train from where the run stands to the end; returns the model."""
        for step in range(self._resume(), self.recipe.steps):
            started = time.perf_counter()
            loss = self._step(step)
            self.seconds += time.perf_counter() - started
            progress(step + 1, self.recipe.steps, loss)
            if (step + 1) % self.every == 0:
                self._save(step + 1)
        return self.objective.model

    def _step(self, step: int) -> float:
        batch = self.pictures.batch(step, self.recipe.batch_size, self.device)
        with torch.autocast(self.device.type, torch.bfloat16), attention_kernel(self.device):
            loss = self.objective(batch)
        if not torch.isfinite(loss):
            raise LoadError(f"the loss of {self.name} is {loss.item()} at step {step}; lower the learning rate")
        self.optimizer.step(loss, step)
        self.objective.after_step(step / self.recipe.steps)
        return float(loss.detach())

    def _resume(self) -> int:
        if not self.state.exists():
            return 0
        facts = checkpoint.facts_of(self.state)
        if facts.get("identity") != self.identity:
            raise LoadError(f"{self.state} is of another run ({facts.get('identity')}); remove it to begin anew")
        checkpoint.restore(self.state, self.objective, self.optimizer)
        self.seconds = float(facts["seconds"])
        return int(facts["step"])

    def _save(self, step: int) -> None:
        facts = {"identity": self.identity, "step": str(step), "seconds": str(self.seconds)}
        checkpoint.save(self.state, self.objective, self.optimizer, facts)


def attention_kernel(device: torch.device) -> AbstractContextManager[Any]:
    """On a CPU, plain matrix products are faster than the fused attention: its backward pass is slow in bfloat16."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()


def commit_of_sources() -> str:
    """Return the commit of the sources, if they lie in a repository."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
