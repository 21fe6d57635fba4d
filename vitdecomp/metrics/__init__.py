"""Measures: what can be checked where a factor or a mask is known, and how faithful maps are where none is."""

from vitdecomp.metrics.bootstrap import Bootstrap, Estimate
from vitdecomp.metrics.causal import Causal, causal_matrix
from vitdecomp.metrics.faithfulness import (
    FAITHFULNESS,
    Deletion,
    Insertion,
    Perturbation,
    Randomization,
    Randomized,
    Road,
    SaCo,
    Stability,
    black,
    randomized,
    spearman,
    ssim,
    stages_of,
)
from vitdecomp.metrics.heatmaps import Localisation, localisation
from vitdecomp.metrics.knowledge import Knowledge, choose, component_decodability
from vitdecomp.metrics.probes import Decodability, Probe, decodability
from vitdecomp.metrics.protocols import PROTOCOLS, Protocol, register_protocol
from vitdecomp.metrics.retrieval import FeaturePrecision, feature_precision, precision_at_k, retrieve
from vitdecomp.metrics.segmentation import Segmentation, SegmentationResult
from vitdecomp.metrics.segmentation_rows import SegmentationRows
from vitdecomp.metrics.segmentation_weights import MEASURES

__all__ = [
    "FAITHFULNESS",
    "MEASURES",
    "PROTOCOLS",
    "Bootstrap",
    "Causal",
    "Decodability",
    "Deletion",
    "Estimate",
    "FeaturePrecision",
    "Insertion",
    "Knowledge",
    "Localisation",
    "Perturbation",
    "Probe",
    "Protocol",
    "Randomization",
    "Randomized",
    "Road",
    "SaCo",
    "Segmentation",
    "SegmentationResult",
    "SegmentationRows",
    "Stability",
    "black",
    "causal_matrix",
    "choose",
    "component_decodability",
    "decodability",
    "feature_precision",
    "localisation",
    "precision_at_k",
    "randomized",
    "register_protocol",
    "retrieve",
    "spearman",
    "ssim",
    "stages_of",
]
