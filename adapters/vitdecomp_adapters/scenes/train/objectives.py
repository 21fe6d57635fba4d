"""What the embedded models learn from: classes, captions, or nothing but the pictures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import timm
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from vitdecomp_adapters.scenes import architectures, clip
from vitdecomp_adapters.scenes.train.pictures import Batch
from vitdecomp_adapters.scenes.train.views import Views, view

assert architectures.default_cfgs  # importing the module registers the models with timm


class Objective(nn.Module, ABC):
    """A model and what it is trained by; everything that has to be kept is a parameter or a buffer."""

    model: nn.Module

    @abstractmethod
    def forward(self, batch: Batch) -> Tensor:
        """The loss."""

    def learned(self) -> list[tuple[str, nn.Parameter]]:
        """The parameters to train, by name."""
        return [(name, p) for name, p in self.named_parameters() if p.requires_grad]

    def after_step(self, progress: float) -> None:
        """What follows a step; progress runs from 0 to 1."""


class Supervised(Objective):
    """Cross entropy with all classes that a picture belongs to, which count alike."""

    def __init__(self, architecture: str) -> None:
        super().__init__()
        self.model = timm.create_model(architecture)

    def forward(self, batch: Batch) -> Tensor:
        """The loss."""
        told: Tensor = self.model(batch.images).float().log_softmax(-1)
        return -told.gather(1, batch.classes).mean()


class Contrastive(Objective):
    """Captions and pictures drawn to each other (Radford et al., 2021), and both to the words of the caption.

    In batches this small, the one factor that is learned first (the location) satisfies most of the contrast, and
    the others follow late. A classifier of the caption's words (Huang et al., "Classification Done Right for
    Vision-Language Pre-Training", 2024) that both towers share teaches every word from the first step on.
    """

    SHARPNESS = 10.0  # of the words' scores: embeddings have unit length

    def __init__(self) -> None:
        super().__init__()
        import open_clip

        clip.register()
        model: Any = open_clip.create_model(clip.NAME, load_weights=False)
        self.model = model
        self.words = nn.Linear(int(model.text_projection.shape[1]), int(model.vocab_size))

    def forward(self, batch: Batch) -> Tensor:
        """The symmetric cross entropy between pictures and captions of a batch, and that of the captions' words."""
        images, texts, scale = self.model(batch.images, batch.texts)
        images, texts = images.float(), texts.float()
        logits = scale * images @ texts.T
        truth = same(batch.texts)
        contrast = (_soft_cross_entropy(logits, truth) + _soft_cross_entropy(logits.T, truth)) / 2
        said = words_of(batch.texts, self.words.out_features)
        told = [_soft_cross_entropy(self.words(self.SHARPNESS * e).float(), said) for e in (images, texts)]
        return contrast + (told[0] + told[1]) / 2

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """Keep the temperature within its bounds."""
        self.model.logit_scale.clamp_(0, 4.6052)  # type: ignore[operator]


def same(texts: Tensor) -> Float[Tensor, "n n"]:
    """Which captions of a batch are word for word the same, each row summing to one: they are right for each other."""
    equal = (texts[:, None] == texts[None]).all(-1).float()
    return equal / equal.sum(1, keepdim=True)


def words_of(texts: Tensor, vocabulary: int) -> Float[Tensor, "n vocabulary"]:
    """Which tokens each caption of a batch holds, rare ones counting more, each row summing to one."""
    held = torch.zeros(len(texts), vocabulary, device=texts.device).scatter_(1, texts, 1.0)
    held[:, 0] = 0  # what captions are filled up with
    rarity = (len(texts) / held.sum(0).clamp(min=1)).log()  # of what every caption holds: zero
    weights = held * rarity
    return weights / weights.sum(1, keepdim=True).clamp(min=1e-6)


def _soft_cross_entropy(logits: Tensor, truth: Tensor) -> Tensor:
    return -(truth * logits.log_softmax(-1)).sum(-1).mean()


class Distillation(Objective):
    """A student that learns to see in one moment of a scene, or in part of it, what a slower teacher sees in another.

    The loss and the moving average are DINO's (Caron et al., 2021), the balanced targets and the spread of the
    embeddings those of DINOv2 (Oquab et al., 2023).
    """

    GLOBAL = Views(side=64, area=(0.6, 1.0))
    LOCAL = Views(side=32, area=(0.3, 0.6))

    def __init__(self, architecture: str, prototypes: int = 1024, width: int = 512, bottleneck: int = 64) -> None:
        super().__init__()
        self.student = _Projected(architecture, prototypes, width, bottleneck)
        self.teacher = _Projected(architecture, prototypes, width, bottleneck).requires_grad_(False)
        self.teacher.load_state_dict(self.student.state_dict())
        self.model = self.teacher.backbone

    def forward(self, batch: Batch) -> Tensor:
        """Cross entropy between every view of the student and every other, larger view of the teacher."""
        large, small = (
            [view(images, kind, batch.source) for images in (batch.images, batch.later)]
            for kind in (self.GLOBAL, self.LOCAL)
        )
        with torch.no_grad():
            _, seen = self.teacher(torch.cat(large))
            targets = [_balanced(s.float() / 0.05) for s in seen.chunk(len(large))]
        embeddings, told = self.student(torch.cat(large))
        predictions = [*told.chunk(len(large)), *self.student(torch.cat(small))[1].chunk(len(small))]
        losses = [
            -(target * (prediction.float() / 0.1).log_softmax(-1)).sum(-1).mean()
            for i, target in enumerate(targets)
            for j, prediction in enumerate(predictions)
            if i != j
        ]
        spread = sum(_crowding(e.float()) for e in embeddings.chunk(len(large)))
        return torch.stack(losses).mean() + 0.1 * spread / len(large)

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """Let the teacher follow the student, more and more slowly."""
        momentum = 1 - 0.01 * (1 + torch.cos(torch.tensor(progress * torch.pi)).item()) / 2 - 0.0005
        for mine, other in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
            mine.lerp_(other, 1 - momentum)
        for kept, new in zip(self.teacher.buffers(), self.student.buffers(), strict=True):
            kept.copy_(new)


class _Projected(nn.Module):
    """A backbone with a projection onto prototypes of unit length."""

    def __init__(self, architecture: str, prototypes: int, width: int, bottleneck: int) -> None:
        super().__init__()
        backbone: Any = timm.create_model(architecture, dynamic_img_size=True)
        self.backbone, d = backbone, int(backbone.num_features)
        self.head = nn.Sequential(
            nn.Linear(d, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, bottleneck)
        )
        self.prototypes = nn.Linear(bottleneck, prototypes, bias=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings `(n, d)` and similarities to the prototypes `(n, prototypes)`."""
        embedding = self.backbone(images)
        unit = functional.normalize(self.head(embedding).float(), dim=-1)
        return embedding, unit @ functional.normalize(self.prototypes.weight.float(), dim=-1).T


def _balanced(scores: Tensor, rounds: int = 3) -> Tensor:
    """Targets that use all prototypes alike: Sinkhorn and Knopp's scaling of rows and columns."""
    targets = (scores - scores.max()).exp()
    for _ in range(rounds):
        targets = targets / targets.sum(0, keepdim=True) / targets.shape[1]
        targets = targets / targets.sum(1, keepdim=True) / targets.shape[0]
    return targets * targets.shape[0]


def _crowding(embeddings: Tensor) -> Tensor:
    """How near each embedding is to its nearest neighbour, as -log of the distance (KoLeo)."""
    unit = functional.normalize(embeddings, dim=-1)
    near = (unit @ unit.T).fill_diagonal_(-1).argmax(1)
    distance: Tensor = (unit - unit[near]).norm(dim=-1)
    return -(distance + 1e-6).log().mean()


OBJECTIVES: Mapping[str, Callable[[], Objective]] = {
    "clip": Contrastive,
    "deit": lambda: Supervised("scenes_deit"),
    "dino": lambda: Distillation("scenes_dino"),
    "swin": lambda: Supervised("scenes_swin"),
    "maxvit": lambda: Supervised("scenes_maxvit"),
}
