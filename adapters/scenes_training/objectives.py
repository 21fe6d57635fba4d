"""What the embedded models learn from: classes, captions, or nothing but the pictures."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import timm
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional
from vitdecomp_adapters.scenes import architectures, clip

from scenes_training.pictures import Batch

assert architectures.default_cfgs  # importing the module registers the models with timm


class Objective(nn.Module, ABC):
    """A model and what it is trained by; everything that has to be kept is a parameter or a buffer."""

    model: nn.Module

    @abstractmethod
    def forward(self, batch: Batch) -> Tensor:
        """Compute the loss."""

    def learned(self) -> list[tuple[str, nn.Parameter]]:
        """Return the parameters to train, by name."""
        return [(name, p) for name, p in self.named_parameters() if p.requires_grad]

    def after_step(self, progress: float) -> None:
        """Do what follows a step; progress runs from 0 to 1."""


class Supervised(Objective):
    """Cross entropy with all classes that a picture belongs to, which count alike."""

    def __init__(self, architecture: str) -> None:
        super().__init__()
        self.model = timm.create_model(architecture)

    def forward(self, batch: Batch) -> Tensor:
        """Compute the loss."""
        told: Tensor = self.model(batch.images).float().log_softmax(-1)
        return -told.gather(1, batch.classes).mean()


class Contrastive(Objective):
    """Captions and pictures drawn to each other (Radford et al., 2021), while pictures learn the words of the captions.

    In batches this small, the one factor that is learned first (the location) satisfies most of the contrast and
    keeps the others from being learned. So the image tower learns from a classifier of the caption's words (Huang et
    al., "Classification Done Right for Vision-Language Pre-Training", 2024), and the text tower follows it as in
    locked-image tuning (Zhai et al., "LiT", 2022); towards the end, the contrast may move both.
    """

    UNLOCKED = (0.6, 0.8)  # of the training: where the contrast begins to move the image tower, and moves it in full
    model: Any
    progress: Tensor

    def __init__(self) -> None:
        super().__init__()
        import open_clip

        clip.register()
        model: Any = open_clip.create_model(clip.NAME, load_weights=False)
        self.model = model
        self.words = nn.Linear(int(model.text_projection.shape[1]), int(model.vocab_size))
        self.register_buffer("progress", torch.zeros(()))

    def forward(self, batch: Batch) -> Tensor:
        """Compute the symmetric cross entropy of images with captions, and with the captions' words."""
        visual = self.model.visual
        whole, parts = (visual.head(x) for x in class_and_patches(visual.trunk, self._scaled(batch.images)))
        held = held_words(batch.texts, self.words.out_features)
        said = telling(held)
        told = sum(_soft_cross_entropy(self.words(e).float(), said) for e in (whole, parts))
        images, texts = whole.float(), self.model.encode_text(batch.texts).float()
        begin, full = self.UNLOCKED
        images = images.detach().lerp(images, ((self.progress - begin) / (full - begin)).clamp(0, 1))
        return told + self._contrast(images, texts, implied(held))

    def _scaled(self, images: Tensor) -> Tensor:
        """Pictures from -1 .. 1 as open_clip's own transform of the model makes them."""
        visual = self.model.visual
        mean, std = (
            torch.tensor(v, device=images.device)[:, None, None] for v in (visual.image_mean, visual.image_std)
        )
        return ((images + 1) / 2 - mean) / std

    def _contrast(self, images: Tensor, texts: Tensor, right: Tensor) -> Tensor:
        logits = self.model.logit_scale.exp() * functional.normalize(images) @ functional.normalize(texts).T
        return (_soft_cross_entropy(logits, right) + _soft_cross_entropy(logits.T, right.T)) / 2

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """Keep the temperature within its bounds."""
        self.progress.fill_(progress)
        self.model.logit_scale.clamp_(0, 4.6052)


def class_and_patches(vit: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the class token of the last layer, and the mean of the patches, which learns earlier."""
    tokens = vit.forward_features(images)
    return tokens[:, 0], tokens[:, 1:].mean(1)


def held_words(texts: Int64[Tensor, "n length"], vocabulary: int) -> Float[Tensor, "n vocabulary"]:
    """Return which tokens each caption holds, as ones; the zeros that captions are filled up with are none."""
    held = torch.zeros(len(texts), vocabulary, device=texts.device).scatter_(1, texts, 1.0)
    held[:, 0] = 0
    return held


def implied(held: Float[Tensor, "n vocabulary"]) -> Float[Tensor, "n n"]:
    """Return which captions (columns) say no more than another one (row): they are right for its image too."""
    return (held @ held.T == held.sum(1)).float()


def telling(held: Float[Tensor, "n vocabulary"]) -> Float[Tensor, "n vocabulary"]:
    """Return how much each word tells in a batch: the rarer, the more, each row summing to one."""
    rarity = (len(held) / held.sum(0).clamp(min=1)).log()  # of what every caption holds: zero
    weights = held * rarity
    return weights / weights.sum(1, keepdim=True).clamp(min=1e-6)


def _soft_cross_entropy(logits: Tensor, truth: Tensor) -> Tensor:
    """Rows of the truth count alike, however many are right in each."""
    share = truth / truth.sum(1, keepdim=True).clamp(min=1e-6)
    return -(share * logits.log_softmax(-1)).sum(-1).mean()


class Recognition(Objective):
    """A student that recognises a scene of which a slower teacher saw another moment, among those of the last steps.

    The teacher and the memory are those of momentum contrast (He et al., 2020; Chen et al., "An Empirical Study of
    Training Self-Supervised Vision Transformers", 2021). Many scenes to choose from, and a low temperature, leave no
    factor out: with few, a location is all that is learned. Moments differ in shade, light, place, size and
    noise, so the pictures need no other augmentation.
    """

    TEMPERATURE = 0.04
    PAST = 4096  # scenes of the last steps
    past: Tensor
    filled: Tensor

    def __init__(self, architecture: str) -> None:
        super().__init__()
        self.student, self.teacher = _Projected(architecture), _Projected(architecture).requires_grad_(False)
        self.teacher.load_state_dict(self.student.state_dict())
        self.model = self.teacher.backbone
        self.register_buffer("past", torch.zeros(2, self.PAST, self.student.width))
        self.register_buffer("filled", torch.zeros((), dtype=torch.long))

    def forward(self, batch: Batch) -> Tensor:
        """Cross entropy between a scene and all that it might be, by both projections.

        The student sees one moment and the teacher the other: two directions a step would cost twice as much, and
        each would bring less than a step of its own.
        """
        with torch.no_grad():
            seen = self.teacher(batch.later)
        choices = torch.cat([seen, self.past[:, : int(self.filled)]], dim=1)
        truth = torch.arange(len(batch.images), device=choices.device)
        scores = self.student(batch.images) @ choices.mT / self.TEMPERATURE
        self._remember(seen)
        return torch.stack([functional.cross_entropy(s, truth) for s in scores]).mean()

    def _remember(self, seen: Tensor) -> None:
        self.past = torch.cat([seen, self.past], dim=1)[:, : self.PAST]
        self.filled += len(seen[0])
        self.filled.clamp_(max=self.PAST)

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """Let the teacher follow the student, more and more slowly."""
        momentum = 1 - 0.01 * (1 + math.cos(progress * math.pi)) / 2 - 0.0005
        for mine, other in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
            mine.lerp_(other, 1 - momentum)
        for kept, new in zip(self.teacher.buffers(), self.student.buffers(), strict=True):
            kept.copy_(new)


class _Projected(nn.Module):
    """A ViT, with one projection of its class token and one of the mean of its patches."""

    def __init__(self, architecture: str, hidden: int = 512, width: int = 64) -> None:
        super().__init__()
        backbone: Any = timm.create_model(architecture)
        self.backbone, self.width, d = backbone, width, int(backbone.num_features)
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(d, hidden), nn.GELU(), nn.Linear(hidden, width)) for _ in range(2)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return both projections, of unit length, `(2, n, width)`."""
        read = class_and_patches(self.backbone, images)
        return functional.normalize(torch.stack([h(x).float() for h, x in zip(self.heads, read, strict=True)]), dim=-1)


OBJECTIVES: Mapping[str, Callable[[], Objective]] = {
    "clip": Contrastive,
    "deit": lambda: Supervised("scenes_deit"),
    "dino": lambda: Recognition("scenes_dino"),
    "swin": lambda: Supervised("scenes_swin"),
    "maxvit": lambda: Supervised("scenes_maxvit"),
}
