"""Small labelled pictures, drawn from a seed: a world whose every cause is known."""

from vitdecomp.scenes.dataset import Sample, SceneDataset
from vitdecomp.scenes.factors import FACTORS, SPLITS
from vitdecomp.scenes.scene import Scene, Second
from vitdecomp.scenes.subsets import SUBSETS, Correlation

__all__ = ["FACTORS", "SPLITS", "SUBSETS", "Correlation", "Sample", "Scene", "SceneDataset", "Second"]
