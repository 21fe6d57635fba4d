"""Scores as an Arrow table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from vitdecomp.tables.columns import component_columns

if TYPE_CHECKING:
    from vitdecomp.score.scorer import FeatureScorer


def score_table(scorer: FeatureScorer, features: Sequence[str]) -> pa.Table:
    """Return a row for each feature and component, as `FeatureScorer.to_dataframe` describes them.

    Raises:
        SpecError: no such feature.
    """
    places = {component: i for i, component in enumerate(scorer.components_)}
    return pa.concat_tables(_of(scorer, name, [places[c] for c in scorer.ranking(name)]) for name in features)


def _of(scorer: FeatureScorer, feature: str, order: list[int]) -> pa.Table:
    row, size = scorer.features_.index(feature), len(order)
    numbers = {
        "score": scorer.scores_[row],
        "low": scorer.interval_[row, :, 0],
        "high": scorer.interval_[row, :, 1],
        "margin": scorer.margins_[row],
        "chance": scorer.chance_[row],
        "p_value": scorer.p_value_[row],
    }
    columns = {
        "feature": pa.array([feature] * size, type=pa.string()),
        "rank": pa.array(np.arange(1, size + 1)),
        **component_columns([scorer.components_[i] for i in order]),
        **{name: pa.array(values[order]) for name, values in numbers.items()},
    }
    return pa.table(columns)
