"""CLIP's space: texts, zero-shot classes, and contributions mapped into it."""
