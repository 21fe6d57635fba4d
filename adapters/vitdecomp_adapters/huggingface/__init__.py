"""Hugging Face transformers: vision models, and both towers of CLIP and SigLIP."""

from vitdecomp_adapters.huggingface.adapter import HuggingFaceAdapter

__all__ = ["HuggingFaceAdapter"]
