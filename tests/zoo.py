"""Small members of every supported family: the real classes of timm and open_clip, made narrow and shallow.

`ZOO` maps a name to a factory, the image size, and the number of heads of every attention that must appear among
the components.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import open_clip
import timm
from timm.models import (
    beit,
    cait,
    convnext,
    deit,
    eva,
    hiera,
    mvitv2,
    pvt_v2,
    swin_transformer,
    swin_transformer_v2,
    xcit,
)
from timm.models.vision_transformer import VisionTransformer
from torch import nn


@dataclass(frozen=True)
class Animal:
    """A factory with what is known about what it makes."""

    make: Callable[[], nn.Module]
    size: int | tuple[int, int]
    heads: dict[str, int]
    opened: int = 0  # gates on the trunk
    embed: bool = True  # whether the patches themselves reach the representation linearly


VIT: dict[str, Any] = {
    "img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 4, "num_classes": 0
}  # fmt: skip


def _blocks(pattern: str, heads: list[int]) -> dict[str, int]:
    return {pattern.format(i): h for i, h in enumerate(heads)}


def _stages(pattern: str, depths: list[int], heads: list[int]) -> dict[str, int]:
    return {pattern.format(s, b): heads[s] for s, depth in enumerate(depths) for b in range(depth)}


def _vit(**more: Any) -> Callable[[], nn.Module]:
    return lambda: VisionTransformer(**{**VIT, **more})


def _timm(name: str, **options: Any) -> Callable[[], nn.Module]:
    return lambda: timm.create_model(name, num_classes=0, **options)


TOWER = {"image_size": 32, "layers": 3, "width": 48, "head_width": 12, "patch_size": 8}
TEXT = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}


def _open_clip(**vision: Any) -> Callable[[], nn.Module]:
    return lambda: open_clip.CLIP(24, {**TOWER, **vision}, TEXT)  # type: ignore[no-untyped-call]


@timm.models.register_model
def vitdecomp_small_siglip(pretrained: bool = False, **options: Any) -> nn.Module:
    """A timm model for open_clip to wrap: attention pool, no class token."""
    return VisionTransformer(**VIT, global_pool="map", class_token=False)


@timm.models.register_model
def vitdecomp_small_eva(pretrained: bool = False, **options: Any) -> nn.Module:
    """A timm model for open_clip to wrap: rotary embeddings, gated MLPs, class token."""
    rotary = {"use_rot_pos_emb": True, "ref_feat_shape": (4, 4)}
    model = eva.Eva(**VIT, swiglu_mlp=True, global_pool="token", **rotary)
    model.default_cfg = {}  # open_clip looks into it
    return model


def _wrapped(name: str, proj: str) -> Callable[[], nn.Module]:
    vision = {"image_size": 32, "timm_model_name": name, "timm_pool": "", "timm_proj": proj}
    return lambda: open_clip.CustomTextCLIP(48, vision, TEXT)  # type: ignore[no-untyped-call]


def _coca() -> nn.Module:
    vision = {
        **TOWER,
        "attentional_pool": True,
        "attn_pooler_heads": 4,
        "attn_pooler_queries": 6,
        "output_tokens": True,
    }
    multimodal = {**TEXT, "embed_cls": True, "attn_pooler_heads": 4}
    return open_clip.CoCa(24, multimodal, {**TEXT, "embed_cls": True, "output_tokens": True}, vision)  # type: ignore[no-untyped-call]


MAXVIT = {
    f"stages.{s}.blocks.{b}.attn_{kind}.attn": h
    for s, (depth, h) in enumerate([(1, 1), (2, 2)])
    for b in range(depth)
    for kind in ("block", "grid")
}
MAXVIT_OF_TWO: dict[str, Any] = {"depths": (1, 2), "embed_dim": (32, 64), "block_type": ("M", "M")}
COATNET_NARROW: dict[str, Any] = {"depths": (1, 1, 2, 1), "embed_dim": (16, 32, 64, 128)}
COATNET = _stages("stages.{}.blocks.{}.attn", [0, 0, 2, 0], [0, 0, 2, 0])
COATNET |= {"stages.2.blocks.0.attn": 1, "stages.3.blocks.0.attn": 2}  # the first of a stage counts its input's width
FOUR = _blocks("blocks.{}.attn", [4, 4, 4])

ZOO: dict[str, Animal] = {
    "vit_cls": Animal(_vit(), 32, FOUR, embed=False),
    "vit_avg": Animal(_vit(global_pool="avg", class_token=False), 32, FOUR),
    "vit_registers": Animal(_vit(reg_tokens=3, init_values=0.1, qk_norm=True), 32, FOUR, embed=False),
    "vit_registers_avg": Animal(_vit(reg_tokens=3, global_pool="avg", fc_norm=True), 32, FOUR),
    "vit_layer_scale": Animal(_vit(init_values=0.1, no_embed_class=True, pre_norm=True), 32, FOUR, embed=False),
    "siglip": Animal(_vit(global_pool="map", class_token=False), 32, FOUR, opened=1),
    "deit_distilled": Animal(lambda: deit.VisionTransformerDistilled(**VIT), 32, FOUR, embed=False),
    "dinov2": Animal(_vit(init_values=1e-5, reg_tokens=4, no_embed_class=True), 32, FOUR, embed=False),
    "dinov3": Animal(
        _timm("vit_small_patch16_dinov3", img_size=64, embed_dim=48, depth=3, num_heads=4), 64, FOUR
    ),
    "beit": Animal(
        lambda: beit.Beit(**VIT, init_values=0.1, use_rel_pos_bias=True, use_abs_pos_emb=False), 32, FOUR
    ),
    "eva02": Animal(
        lambda: eva.Eva(
            **VIT, qkv_fused=False, swiglu_mlp=True, scale_mlp=True, use_rot_pos_emb=True, ref_feat_shape=(4, 4),
        ), 32, FOUR,
    ),
    "cait": Animal(
        lambda: cait.Cait(**VIT, init_values=0.1), 32, FOUR, opened=2
    ),
    "swin": Animal(
        lambda: swin_transformer.SwinTransformer(
            32, 2, num_classes=0, embed_dim=24, depths=(2, 2), num_heads=(2, 4), window_size=4
        ), 32, _stages("layers.{}.blocks.{}.attn", [2, 2], [2, 4]),
    ),
    "swinv2": Animal(
        lambda: swin_transformer_v2.SwinTransformerV2(
            32, 2, num_classes=0, embed_dim=24, depths=(2, 2), num_heads=(2, 4), window_size=4
        ), 32, _stages("layers.{}.blocks.{}.attn", [2, 2], [2, 4]),
    ),
    "maxvit": Animal(_timm("maxvit_pico_rw_256", **MAXVIT_OF_TWO, img_size=64), 64, MAXVIT),
    "coatnet": Animal(_timm("coatnet_pico_rw_224", **COATNET_NARROW, img_size=64), 64, COATNET),
    "xcit": Animal(
        lambda: xcit.Xcit(32, 8, num_classes=0, embed_dim=48, depth=2, num_heads=4, cls_attn_layers=2, eta=1.0),
        32, _blocks("blocks.{}.attn", [4, 4]), opened=2,
    ),
    "pvt_v2": Animal(
        lambda: pvt_v2.PyramidVisionTransformerV2(
            num_classes=0, depths=(1, 1, 1, 1), embed_dims=(8, 16, 24, 32), num_heads=(1, 2, 3, 4)
        ), 64, _stages("stages.{}.blocks.{}.attn", [1, 1, 1, 1], [1, 2, 3, 4]),
    ),
    "mvitv2": Animal(
        lambda: mvitv2.MultiScaleVit(
            mvitv2.MultiScaleVitCfg(depths=(1, 2), embed_dim=8), (64, 64), num_classes=0
        ), 64,
        _stages("stages.{}.blocks.{}.attn", [1, 2], [1, 2]),
    ),
    "hiera": Animal(
        lambda: hiera.Hiera(
            (64, 64), num_classes=0, embed_dim=16, num_heads=1, stages=(1, 1, 2, 1)
        ), 64, _blocks("blocks.{}.attn", [1, 2, 4, 4, 8]),
    ),
    "convnext": Animal(lambda: convnext.ConvNeXt(num_classes=0, depths=(1, 1, 2, 1), dims=(8, 16, 24, 32)), 64, {}),
    "open_clip_vit": Animal(
        _open_clip(), 32, _blocks("visual.transformer.resblocks.{}.attn", [4, 4, 4]), embed=False
    ),
    "open_clip_avg": Animal(
        _open_clip(pool_type="avg", ls_init_value=0.1), 32, _blocks("visual.transformer.resblocks.{}.attn", [4, 4, 4])
    ),
    "open_clip_siglip": Animal(
        _wrapped("vitdecomp_small_siglip", "none"), 32, _blocks("visual.trunk.blocks.{}.attn", [4, 4, 4]), opened=1
    ),
    "open_clip_eva": Animal(
        _wrapped("vitdecomp_small_eva", "linear"), 32, _blocks("visual.trunk.blocks.{}.attn", [4, 4, 4]), embed=False
    ),
    "open_clip_coca": Animal(_coca, 32, _blocks("visual.transformer.resblocks.{}.attn", [4, 4, 4]), opened=1),
}  # fmt: skip
