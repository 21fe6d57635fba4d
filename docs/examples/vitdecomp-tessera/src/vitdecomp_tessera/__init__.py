"""Tessera's vision transformers in vitdecomp, with a method for heatmaps and an aligner; see the README."""
