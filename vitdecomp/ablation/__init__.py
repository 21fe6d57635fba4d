"""Components replaced by what does not know the image: cue removal, its experiment, and ablation curves."""

from vitdecomp.ablation.ablator import Ablator
from vitdecomp.ablation.accuracy import GroupAccuracy
from vitdecomp.ablation.curves import Curve, Steps, ablation_curves
from vitdecomp.ablation.debias import Labelled, Plan, Run, debias
from vitdecomp.ablation.effects import Effects, effects
from vitdecomp.ablation.figure import draw_curves
from vitdecomp.ablation.linear_head import LinearHead
from vitdecomp.ablation.reweighting import SpectralReweighting

__all__ = [
    "Ablator",
    "Curve",
    "Effects",
    "GroupAccuracy",
    "Labelled",
    "LinearHead",
    "Plan",
    "Run",
    "SpectralReweighting",
    "Steps",
    "ablation_curves",
    "debias",
    "draw_curves",
    "effects",
]
