"""Gradient descent on linear maps: batches, validation, early stopping, checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitdecomp._utils.progress import Progress
from vitdecomp.distributed.process_group import Ranks
from vitdecomp_alignment.aligners.broadcast import broadcast
from vitdecomp_alignment.aligners.checkpoint import Checkpoint, State
from vitdecomp_alignment.aligners.examples import Examples
from vitdecomp_alignment.aligners.loss import MapsModule

EVALUATIONS = 10  # of the validation images in an epoch
REMEMBERED = 5  # evaluations that a smoothed loss is the mean of


@dataclass(frozen=True, slots=True)
class Schedule:
    """How maps are trained.

    Attributes:
        learning_rate, weight_decay: of Adam. epochs: at most; all of them if no images are held out.
        patience: evaluations without a better smoothed loss after which training stops; ten are made in an epoch.
    """

    learning_rate: float
    weight_decay: float
    epochs: int
    patience: int


class Training:
    """One training run. The batches depend on the seed and the step alone, so that it can be resumed.

    Args:
        module: the maps and their loss.
        examples: images.
        schedule: the settings.
        checkpoint: a file to go on from, written at every evaluation.
        ranks: processes that share every batch; they step alike, and the first keeps the file.
    """

    def __init__(
        self,
        module: MapsModule,
        examples: Examples,
        schedule: Schedule,
        checkpoint: Checkpoint | None,
        ranks: Ranks,
    ) -> None:
        self.module, self.examples, self.schedule, self.ranks = module, examples, schedule, ranks
        self.checkpoint, self.state = checkpoint, State()
        self.optimizer = torch.optim.Adam(
            module.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay, fused=True
        )
        self.best = _copied(module)

    def run(self, progress: Progress | None = None) -> None:
        """Train until the epochs are over or nothing gets better, and leave the best maps in the module."""
        total = self.examples.per_epoch * self.schedule.epochs
        every = max(1, self.examples.per_epoch // EVALUATIONS)
        self._restore()
        if self.state.step == 0 and len(self.examples.held_out):
            self._evaluate()  # what one begins with may be the best
        while self.state.step < total and self.state.since < self.schedule.patience:
            self._step()
            if self.state.step % every == 0 or self.state.step == total:
                self._evaluate()
            if progress is not None:
                progress(self.state.step, total)
        if progress is not None:
            progress(total, total)
        self.module.load_state_dict(self.best)

    def _step(self) -> None:
        step, ranks = self.state.step, self.ranks
        loss = self.module(*self.examples.batch(step, ranks), len(self.examples.rows(step)), ranks)
        self.optimizer.zero_grad()
        loss.backward()
        self.state.running.append(self._together(loss.detach()))
        self.optimizer.step()
        self.state.step += 1

    def _together(self, loss: Float[Tensor, ""]) -> float:
        """Add up the gradients and the loss of all processes, in one exchange."""
        if self.ranks.world_size > 1:
            gradients = [p.grad for p in self.module.parameters() if p.grad is not None]
            flat = self.ranks.all_reduce(torch.cat([loss[None], *(gradient.flatten() for gradient in gradients)]))
            loss, start = flat[0], 1
            for gradient in gradients:
                gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
                start += gradient.numel()
        return float(loss)

    @torch.no_grad()
    def _evaluate(self) -> None:
        """Judge the maps on the images held out, and keep them if the mean of the last few losses is the least."""
        state = self.state
        row = {"step": float(state.step)}
        if state.running:
            row["loss"] = float(np.mean(state.running))
        state.running = []
        judged = len(self.examples.held_out) > 0
        if judged:
            row["distance"] = self.distance()
            row["validation"] = row["distance"] + float(self.module.penalised(Ranks()))
            last = [r["validation"] for r in state.history[-REMEMBERED + 1 :]]
            row["smoothed"] = float(np.mean([*last, row["validation"]]))
            state.since += 1
        state.history.append(row)
        if row.get("smoothed", -float("inf")) < state.best or not judged:
            state.best, state.since, self.best = row.get("smoothed", state.best), 0, _copied(self.module)
        self._save()

    def _save(self) -> None:
        if self.checkpoint is None or not self.ranks.first:
            return
        adam = self.optimizer.state_dict()["state"]
        tensors = {
            **{f"now.{name}": tensor for name, tensor in self.module.state_dict().items()},
            **{f"best.{name}": tensor for name, tensor in self.best.items()},
            **{f"adam.{i}.{key}": tensor for i, kept in adam.items() for key, tensor in kept.items()},
        }
        self.checkpoint.write(tensors, self.state)

    def _restore(self) -> None:
        """Go on where the checkpoint was written, if there is one."""
        file = self.checkpoint
        tensors, state = broadcast(self.ranks, lambda: _plain(None if file is None else file.read()))
        if file is None or state is None:
            return
        self.state = State(**state)
        file.check(tensors, self._shapes())
        self.module.load_state_dict(_under("now.", tensors))
        self.best = _under("best.", tensors)
        adam: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _under("adam.", tensors).items():
            index, key = name.split(".")
            adam.setdefault(int(index), {})[key] = tensor
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": adam})

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the tensors that a checkpoint holds at this step."""
        shapes = {name: tuple(tensor.shape) for name, tensor in self.module.state_dict().items()}
        moments = dict(enumerate(tuple(p.shape) for p in self.module.parameters())) if self.state.step else {}
        return {
            **{f"{part}.{name}": shape for part in ("now", "best") for name, shape in shapes.items()},
            **{f"adam.{i}.step": () for i in moments},
            **{f"adam.{i}.{key}": shape for i, shape in moments.items() for key in ("exp_avg", "exp_avg_sq")},
        }

    @torch.no_grad()
    def distance(self) -> float:
        """Average 1 - cosine over the images held out."""
        found = sum(float(self.module.distance(*batch).sum()) for batch in self.examples.judged(self.ranks))
        return float(self.ranks.all_reduce(torch.tensor(found, dtype=torch.float64))) / len(self.examples.held_out)


def _plain(read: tuple[dict[str, Tensor], State] | None) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """Return what a checkpoint holds, in a form that one process can send to another."""
    return ({}, None) if read is None else (read[0], asdict(read[1]))


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _copied(module: nn.Module) -> Mapping[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
