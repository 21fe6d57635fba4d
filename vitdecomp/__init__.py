"""vitdecomp: which part of a vision transformer sees what.

A model is traced, every linear path from its components to the representation is found, and the representation
becomes an exact sum of named contributions.
"""

from vitdecomp.ablation import Ablator
from vitdecomp.adapter import Adapter, LoadedModel, Representation, load_model, register_adapter
from vitdecomp.component import Component
from vitdecomp.contributions import Contributions
from vitdecomp.debiased import Debiased, debiased
from vitdecomp.decompose import Decomposer
from vitdecomp.errors import (
    CoverageError,
    InexactError,
    InputError,
    LoadError,
    NoRuleError,
    OutputError,
    SpecError,
    TraceError,
    VitdecompError,
)
from vitdecomp.retrieval import Query, Retriever, Scope
from vitdecomp.score import FeatureScorer
from vitdecomp.store import Store
from vitdecomp.tolerance import TOLERANCE
from vitdecomp.trace.rule import data, frozen, gate, nonlinear, register_opening, register_rule

__version__ = "0.1.0"

__all__ = [
    "TOLERANCE",
    "Ablator",
    "Adapter",
    "Component",
    "Contributions",
    "CoverageError",
    "Debiased",
    "Decomposer",
    "FeatureScorer",
    "InexactError",
    "InputError",
    "LoadError",
    "LoadedModel",
    "NoRuleError",
    "OutputError",
    "Query",
    "Representation",
    "Retriever",
    "Scope",
    "SpecError",
    "Store",
    "TraceError",
    "VitdecompError",
    "data",
    "debiased",
    "frozen",
    "gate",
    "load_model",
    "nonlinear",
    "register_adapter",
    "register_opening",
    "register_rule",
]
