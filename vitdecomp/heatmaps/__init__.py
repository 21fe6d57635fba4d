"""Heatmaps: where in the input a score comes from, by one method or another."""

from vitdecomp.heatmaps.explainer import Explainer, explainers, register_explainer
from vitdecomp.heatmaps.explaining import explain, explain_each
from vitdecomp.heatmaps.file import load_each
from vitdecomp.heatmaps.heatmaps import Heatmaps

__all__ = ["Explainer", "Heatmaps", "explain", "explain_each", "explainers", "load_each", "register_explainer"]
