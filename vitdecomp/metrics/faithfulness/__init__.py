"""Faithfulness: does what a map shows matter to the score that it explains?"""

from __future__ import annotations

from vitdecomp.metrics.faithfulness.deletion import Deletion
from vitdecomp.metrics.faithfulness.explaining import Explain
from vitdecomp.metrics.faithfulness.insertion import Insertion
from vitdecomp.metrics.faithfulness.perturbation import Perturbation
from vitdecomp.metrics.faithfulness.randomization import (
    ExplainModel,
    Randomization,
    Randomized,
    randomized,
    stages_of,
)
from vitdecomp.metrics.faithfulness.road import Road
from vitdecomp.metrics.faithfulness.saco import SaCo
from vitdecomp.metrics.faithfulness.scoring import Fill, Measure, Score, black
from vitdecomp.metrics.faithfulness.similarity import spearman, ssim
from vitdecomp.metrics.faithfulness.stability import Predict, Stability

FAITHFULNESS: dict[str, Measure] = {
    "insertion": Insertion(),
    "deletion": Deletion(),
    "positive-perturbation": Perturbation("positive"),
    "negative-perturbation": Perturbation("negative"),
    "road": Road(),
    "saco": SaCo(),
}
"""The measures of given maps by name, with the settings of their papers; `dataclasses.replace` changes settings.
`Randomization` and `Stability` are not among them, for they make maps of their own."""

__all__ = [
    "FAITHFULNESS",
    "Deletion",
    "Explain",
    "ExplainModel",
    "Fill",
    "Insertion",
    "Measure",
    "Perturbation",
    "Predict",
    "Randomization",
    "Randomized",
    "Road",
    "SaCo",
    "Score",
    "Stability",
    "black",
    "randomized",
    "spearman",
    "ssim",
    "stages_of",
]
