"""Latent tokens: what each token of each layer says by itself, in the space of the representation."""

from vitdecomp.latent.description import Descriptions
from vitdecomp.latent.latent_tokens import Drift, LatentTokens
from vitdecomp.latent.noise import Smoothing

__all__ = ["Descriptions", "Drift", "LatentTokens", "Smoothing"]
