"""Latent tokens: what each token of each layer says by itself, in the space of the representation; and their edits."""

from vitdecomp.latent.description import Descriptions
from vitdecomp.latent.edited_module import EditedModule
from vitdecomp.latent.editing import Edited, edit_tokens
from vitdecomp.latent.latent_tokens import Drift, LatentTokens
from vitdecomp.latent.noise import Smoothing
from vitdecomp.latent.selection import Named, Similar

__all__ = [
    "Descriptions",
    "Drift",
    "Edited",
    "EditedModule",
    "LatentTokens",
    "Named",
    "Similar",
    "Smoothing",
    "edit_tokens",
]
