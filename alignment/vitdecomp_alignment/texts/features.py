"""Words for image features."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# Balasubramanian et al., "Decomposing and Interpreting Image Representations via Text in ViTs Beyond CLIP" (2024),
# arXiv 2406.01583. A lone color would also mean the thing of its name, so each is followed by the word itself.
FEATURE_WORDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "color": tuple(f"{name} color" for name in ("blue", "green", "red", "yellow", "black", "white")),
        "texture": ("rough", "smooth", "furry", "sleek", "slimy", "spiky", "glossy"),
        "animal": ("camel", "elephant", "giraffe", "cat", "dog", "zebra", "cheetah"),
        "person": ("face", "head", "man", "woman", "human", "arms", "legs"),
        "location": ("sea", "beach", "forest", "desert", "city", "sky", "marsh"),
        "pattern": ("spotted", "striped", "polka dot", "plain", "checkered"),
        "shape": ("triangular", "rectangular", "circular", "octagon"),
        "fabric": ("linen", "velvet", "cotton", "silk", "chiffon"),
    }
)
