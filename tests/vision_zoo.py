"""Tiny models of the vision classes of transformers, all parameters random."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import transformers
from helpers import randomised
from torch import nn
from transformers.models.auto import modeling_auto

from vitdecomp._utils.hub import quiet

VISION = "pixel_values"
MADE_OF = ("backbone_config", "vision_config", "detector_config", "image_model_config")
# What a configuration is given where it has it, unless it is a list there.
COMMON: dict[str, Any] = {
    "num_labels": 3,
    "image_size": 32,
    "patch_size": 8,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "projection_dim": 16,
    "num_register_tokens": 2,
}
TEXT = {**COMMON, "vocab_size": 50, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
PARTS = {"vision_config": COMMON, "text_config": TEXT, "image_config": COMMON, "multimodal_config": COMMON}
SIZES = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 24, 32]}
CONVNEXT = {**SIZES, "num_stages": 4, "num_hidden_layers": 4, "patch_size": 4}
PYRAMID = {**SIZES, "num_attention_heads": [1, 1, 2, 2], "mlp_ratios": [2, 2, 2, 2], "image_size": 64}
SWIN = {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 2, "patch_size": 4}
SAM = {"window_size": 2, "global_attn_indexes": [1], "output_channels": 16, "num_pos_feats": 8, "mlp_dim": 48}
# More for those whose sizes hang together otherwise, by model type.
OWN: dict[str, dict[str, Any]] = {
    "bit": {"hidden_sizes": [8, 16], "depths": [1, 1], "embedding_size": 8, "num_groups": 2},
    "convnext": CONVNEXT,
    "convnextv2": CONVNEXT,
    "cvt": {"embed_dim": [8, 16, 24], "num_heads": [1, 2, 2], "depth": [1, 2, 3]},
    "dinov3_convnext": SIZES,
    "donut-swin": SWIN,
    "efficientnet": {"width_coefficient": 0.1, "depth_coefficient": 0.1, "hidden_dim": 128},
    "focalnet": {"embed_dim": 8, "depths": [1, 1], "focal_levels": [1, 1], "focal_windows": [3, 3], "patch_size": 4},
    "glpn": {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 2, 2]},
    "hgnet_v2": {
        "stem_channels": [3, 4, 8],
        "stage_in_channels": [8, 8, 16, 16],
        "stage_mid_channels": [4, 4, 8, 8],
        "stage_out_channels": [8, 16, 16, 24],
        "stage_num_blocks": [1, 1, 1, 1],
        "hidden_sizes": [8, 16, 16, 24],
        "depths": [1, 1, 1, 1],
    },
    "hiera": {
        "image_size": [32, 32],
        "embed_dim": 8,
        "depths": [1, 1],
        "num_heads": [1, 2],
        "masked_unit_size": [4, 4],
        "query_stride": [2, 2],
        "num_query_pool": 1,
        "masked_unit_attention": [True, False],
        "patch_size": [7, 7],
    },
    "levit": {
        "image_size": 64,
        "patch_size": 16,
        "hidden_sizes": [16, 24, 32],
        "num_attention_heads": [1, 2, 2],
        "depths": [1, 1, 1],
        "key_dim": [8, 8, 8],
        "mlp_ratio": [2, 2, 2],
        "attention_ratio": [2, 2, 2],
        "down_ops": [["Subsample", 8, 2, 4, 2, 2], ["Subsample", 8, 3, 4, 2, 2]],
    },
    "maskformer-swin": {**SWIN, "image_size": 32},
    "mgp-str": {"image_size": [32, 32], "num_wordpiece_labels": 9, "num_bpe_labels": 9, "num_character_labels": 9},
    "mobilenet_v1": {"depth_multiplier": 0.25, "min_depth": 8},
    "mobilenet_v2": {"depth_multiplier": 0.25, "min_depth": 8},
    "mobilevit": {
        "hidden_sizes": [8, 12, 16],
        "neck_hidden_sizes": [4, 8, 8, 12, 12, 12, 16],
        "patch_size": 2,
        "num_attention_heads": 2,
        "image_size": 64,
        "mlp_ratio": 2.0,
    },
    "mobilevitv2": {
        "width_multiplier": 0.25,
        "image_size": 64,
        "patch_size": 2,
        "n_attn_blocks": [1, 1, 1],
        "base_attn_unit_dims": [32, 48, 64],
    },
    "perceiver": {
        "num_latents": 4,
        "d_latents": 16,
        "d_model": 16,
        "num_blocks": 1,
        "num_self_attends_per_block": 1,
        "num_self_attention_heads": 1,
        "num_cross_attention_heads": 1,
    },
    "poolformer": {**CONVNEXT, "patch_size": 7},
    "pvt": PYRAMID,
    "pvt_v2": PYRAMID,
    "radio": {"max_img_size": 64, "cpe_max_size": 64},
    "regnet": {**SIZES, "embedding_size": 8, "groups_width": 4},
    "resnet": {**SIZES, "embedding_size": 8},
    "efficientloftr": {"hidden_size": 256},
    "sam2_hiera_det_model": {
        "image_size": [64, 64],
        "patch_kernel_size": [7, 7],
        "hidden_size": 8,
        "num_attention_heads": 1,
        "blocks_per_stage": [1, 1, 1, 1],
        "embed_dim_per_stage": [8, 16, 24, 32],
        "num_attention_heads_per_stage": [1, 2, 2, 2],
        "global_attention_blocks": [],
    },
    "sam_hq_vision_model": SAM,
    "sam_vision_model": SAM,
    "segformer": {**PYRAMID, "image_size": 32},
    "swiftformer": {"image_size": 64, "depths": [1, 1, 1, 1], "embed_dims": [8, 16, 24, 32]},
    "swin": SWIN,
    "swin2sr": {**SWIN, "embed_dim": 16, "num_heads": [2, 2], "patch_size": 1},
    "swinv2": SWIN,
    "textnet": {"image_size": [64, 64]},
    "timm_backbone": {"backbone": "resnet10t", "use_pretrained_backbone": False},
    "timm_wrapper": {"architecture": "vit_tiny_patch16_224", "model_args": {"img_size": 32, "depth": 2}},
    "yolos": {"image_size": [32, 32], "num_detection_tokens": 3},
}


def tiny(name: str) -> Any:
    """A small configuration for a class of transformers."""
    kind = getattr(transformers, name).config_class
    with quiet():
        base = kind()
        parts = {part: _known(values, getattr(base, part, None)) for part, values in PARTS.items()}
        settings = {part: values for part, values in parts.items() if values}
        return kind(**settings, **{**_known(COMMON, base), **OWN.get(kind.model_type, {})})


def made(name: str) -> nn.Module:
    """A tiny model of a class, in float64, all parameters random."""
    with quiet():
        return randomised(getattr(transformers, name)(tiny(name)))


def _known(values: dict[str, Any], base: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if not isinstance(getattr(base, key, []), (list, tuple))}


def names_of(mapping: Mapping[str, Any]) -> list[str]:
    """List the classes of a table of transformers."""
    return sorted({n for names in mapping.values() for n in ([names] if isinstance(names, str) else names)})


def reason(kind: Any) -> str:
    """Why a class is no model of images alone, as its signature and its configuration tell; empty if it may be one."""
    needed = [p for p in inspect.signature(kind.forward).parameters.values() if p.default is p.empty]
    names = [p.name for p in needed if p.name not in ("self", VISION) and p.kind is p.POSITIONAL_OR_KEYWORD]
    if names:
        return f"needs {names}"
    try:
        with quiet():
            config = kind.config_class() if kind.config_class else None
    except OSError:
        return "asks a hub for the configuration of a part"  # transformers 4, EdgeTAM
    made_of = [part for part in MADE_OF if hasattr(config, part)]
    if made_of or config is None:
        return f"is made of other models: {made_of}"
    return "reads videos" if hasattr(config, "num_frames") else ""


def bare_models() -> Iterator[tuple[str, Any]]:
    """Yield the models without a task that read pixels, and that transformers can make here."""
    for name in names_of(modeling_auto.MODEL_MAPPING_NAMES):
        try:
            kind = getattr(transformers, name)
            if kind.main_input_name == VISION:
                yield name, kind
        except (AttributeError, ImportError):  # it needs a library that is not here
            continue


def image_models() -> list[str]:
    """List the models without a task that read images alone."""
    return [name for name, kind in bare_models() if not reason(kind)]
