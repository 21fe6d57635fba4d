"""Small models of Hugging Face and torchvision, and images that are not square."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import timm
import torchvision
from timm.models import swin_transformer
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from vision_zoo import made
from zoo import MAXVIT_OF_TWO, VIT, Animal

WIDE = (32, 64)


def _hugging_face(name: str) -> Animal:
    return Animal(lambda: made(name), 32, {})


def _torchvision(kind: Callable[..., nn.Module], **options: Any) -> Animal:
    return Animal(lambda: kind(**options, num_classes=24), 32, {})


SWIN: dict[str, Any] = {"embed_dim": 24, "depths": (2, 1), "num_heads": (2, 4), "num_classes": 0}

OTHERS: dict[str, Animal] = {
    "hf/vit": _hugging_face("ViTModel"),
    "hf/clip": _hugging_face("CLIPVisionModelWithProjection"),
    "hf/siglip": _hugging_face("SiglipVisionModel"),
    "hf/dinov2_registers": _hugging_face("Dinov2WithRegistersModel"),
    "hf/swin": _hugging_face("SwinModel"),
    "torchvision/vit": _torchvision(
        torchvision.models.VisionTransformer,
        image_size=32, patch_size=8, num_layers=2, num_heads=4, hidden_dim=48, mlp_dim=64,
    ),
    "torchvision/swin": _torchvision(
        torchvision.models.SwinTransformer,
        patch_size=[2, 2], embed_dim=24, depths=[2, 1], num_heads=[2, 4], window_size=[4, 4],
    ),
    "wide/vit": Animal(lambda: VisionTransformer(**{**VIT, "img_size": WIDE}), WIDE, {}),
    "wide/swin": Animal(lambda: swin_transformer.SwinTransformer(WIDE, 2, window_size=4, **SWIN), WIDE, {}),
    "wide/maxvit": Animal(
        lambda: timm.create_model("maxvit_pico_rw_256", **MAXVIT_OF_TWO, img_size=(64, 128), num_classes=0),
        (64, 128), {},
    ),
}  # fmt: skip
