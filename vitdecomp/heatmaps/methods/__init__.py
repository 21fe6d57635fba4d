"""One file for each method; importing this registers all of them."""

from vitdecomp.heatmaps.methods import (
    attention_gradcam,
    baselines,
    cams,
    decompose,
    frozen,
    gradient_input,
    integrated_gradients,
    legrad,
    occlusion,
    raw_attention,
    rollout,
    softened,
    value,
)

__all__ = [
    "attention_gradcam",
    "baselines",
    "cams",
    "decompose",
    "frozen",
    "gradient_input",
    "integrated_gradients",
    "legrad",
    "occlusion",
    "raw_attention",
    "rollout",
    "softened",
    "value",
]
