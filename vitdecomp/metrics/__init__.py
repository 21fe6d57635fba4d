"""Ground-truth measures: what can be checked where every factor is known."""

from vitdecomp.metrics.causal import Causal, causal_matrix
from vitdecomp.metrics.heatmaps import Localisation, localisation
from vitdecomp.metrics.knowledge import Knowledge, choose, component_decodability
from vitdecomp.metrics.probes import Decodability, Probe, decodability
from vitdecomp.metrics.retrieval import FeaturePrecision, feature_precision, precision_at_k, retrieve

__all__ = [
    "Causal",
    "Decodability",
    "FeaturePrecision",
    "Knowledge",
    "Localisation",
    "Probe",
    "causal_matrix",
    "choose",
    "component_decodability",
    "decodability",
    "feature_precision",
    "localisation",
    "precision_at_k",
    "retrieve",
]
