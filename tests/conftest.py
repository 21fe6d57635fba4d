"""What every test has: one thread a worker, and a tiny model."""

from __future__ import annotations

import os

import pytest
import torch
from helpers import randomised
from timm.models.vision_transformer import VisionTransformer
from torch import nn

# One thread for each worker, and for each command that it runs: more would fight for two cores.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture
def tiny_vit() -> nn.Module:
    """A class-token ViT with three blocks of four heads."""
    return randomised(VisionTransformer(img_size=32, patch_size=8, embed_dim=48, depth=3, num_heads=4, num_classes=0))
