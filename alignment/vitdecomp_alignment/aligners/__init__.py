"""Aligners: linear maps from contributions into CLIP's space, and how they are fitted and kept."""
