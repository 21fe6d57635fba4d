"""The architectures of the embedded world, registered with timm: small, deep, and with many heads."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

from timm.layers.patch_embed import PatchEmbed
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.maxxvit import MaxxVit, MaxxVitCfg, MaxxVitTransformerCfg
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from vitdecomp_adapters.scenes.classes import CLASSES
from vitdecomp_adapters.scenes.clip import WEIGHTS

SIZE = 64
HALF = (0.5, 0.5, 0.5)
STEM = ((32, 2), (32, 1), (64, 2), (64, 1))  # width and stride of the convolutions in front of the last
VIT = {"patch_size": 8, "embed_dim": 128, "depth": 6, "num_heads": 8, "class_token": True}
SWIN = {"patch_size": 4, "window_size": 4, "embed_dim": 48, "depths": (2, 4, 2), "num_heads": (3, 6, 12)}
MAXVIT = MaxxVitCfg(
    embed_dim=(32, 64, 128),
    depths=(2, 2, 2),
    block_type=("M", "M", "M"),
    stem_width=(16, 32),
    transformer_cfg=MaxxVitTransformerCfg(dim_head=16, window_size=(4, 4), grid_size=(4, 4)),
)


class ConvStem(PatchEmbed):
    """Patches of 8 x 8 pixels by three convolutions of stride 2.

    One wide convolution learns shapes by heart on images this small; Xiao et al., "Early Convolutions Help
    Transformers See Better" (2021), found the same at 224 pixels.
    """

    def __init__(self, *, in_chans: int = 3, embed_dim: int = 128, **options: Any) -> None:
        super().__init__(in_chans=in_chans, embed_dim=embed_dim, **options)
        widths = (in_chans, *(width for width, _ in STEM))
        steps = [
            step for (a, b), (_, stride) in zip(pairwise(widths), STEM, strict=True) for step in _step(a, b, stride)
        ]
        self.proj = nn.Sequential(*steps, nn.Conv2d(widths[-1], embed_dim, 3, 2, 1))  # type: ignore[assignment]


def _step(inputs: int, outputs: int, stride: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.GELU()


def _cfg(name: str, classes: int, **more: Any) -> dict[str, Any]:
    return {
        "file": str(WEIGHTS / f"{name}.safetensors"),
        "input_size": (3, SIZE, SIZE),
        "fixed_input_size": True,
        "num_classes": classes,
        "pool_size": None,
        "crop_pct": 1.0,
        "interpolation": "bilinear",
        "mean": HALF,
        "std": HALF,
        "first_conv": "patch_embed.proj.0",
        "classifier": "head",
        **more,
    }


# timm reads this name when the functions below are registered.
default_cfgs = generate_default_cfgs(
    {
        "scenes_deit": _cfg("deit", len(CLASSES)),
        "scenes_dino": _cfg("dino", 0),
        "scenes_swin": _cfg("swin", len(CLASSES), first_conv="patch_embed.proj", classifier="head.fc"),
        "scenes_maxvit": _cfg("maxvit", len(CLASSES), first_conv="stem.conv1", classifier="head.fc"),
        # The image tower of the CLIP; its weights lie in the file of the whole.
        "scenes_clip_image": {**_cfg("clip", 0), "file": None},
    }
)


def _vit(name: str, pretrained: bool, options: dict[str, Any]) -> nn.Module:
    settings = {"img_size": SIZE, "embed_layer": partial(ConvStem), **VIT, **options}
    return build_model_with_cfg(VisionTransformer, name, pretrained, **settings)


@register_model
def scenes_deit(pretrained: bool = False, **options: Any) -> nn.Module:
    """Build a ViT with a class token, trained on the classes of the embedded world."""
    return _vit("scenes_deit", pretrained, options)


@register_model
def scenes_dino(pretrained: bool = False, **options: Any) -> nn.Module:
    """Build a ViT with a class token, trained by self-distillation without labels."""
    return _vit("scenes_dino", pretrained, {"num_classes": 0, **options})


@register_model
def scenes_clip_image(pretrained: bool = False, **options: Any) -> nn.Module:
    """Build the image tower of the embedded CLIP."""
    return _vit("scenes_clip_image", pretrained, {"num_classes": 0, **options})


@register_model
def scenes_swin(pretrained: bool = False, **options: Any) -> nn.Module:
    """Build a Swin of three stages, trained on the classes of the embedded world."""
    settings = {"img_size": SIZE, **SWIN, **options}
    return build_model_with_cfg(SwinTransformer, "scenes_swin", pretrained, **settings)


@register_model
def scenes_maxvit(pretrained: bool = False, **options: Any) -> nn.Module:
    """Build a MaxViT of three stages, trained on the classes of the embedded world."""
    settings = {"img_size": SIZE, "model_cfg": MAXVIT, **options}
    return build_model_with_cfg(MaxxVit, "scenes_maxvit", pretrained, **settings)
