"""Which components carry which feature, told by the texts of the features."""

from vitdecomp.score.figure import check_figure_file, heat_map, write_figure
from vitdecomp.score.quality import Quality, quality
from vitdecomp.score.scorer import FeatureScorer

__all__ = ["FeatureScorer", "Quality", "check_figure_file", "heat_map", "quality", "write_figure"]
