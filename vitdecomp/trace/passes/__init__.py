"""Rewrites of the linear graph that save time and memory, and change no number."""
