"""Pools of texts, in which the words for a direction are looked for."""

from vitdecomp_alignment.texts.features import FEATURE_WORDS
from vitdecomp_alignment.texts.named import named_texts, usual_texts
from vitdecomp_alignment.texts.pools import general_texts, read_texts
from vitdecomp_alignment.texts.scene import scene_features, scene_texts, scene_values

__all__ = [
    "FEATURE_WORDS",
    "general_texts",
    "named_texts",
    "read_texts",
    "scene_features",
    "scene_texts",
    "scene_values",
    "usual_texts",
]
