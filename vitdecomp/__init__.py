"""vitdecomp: which part of a vision transformer sees what.

A model is traced, every linear path from its components to the representation is found, and the representation
becomes an exact sum of named contributions.
"""

from typing import TYPE_CHECKING

from vitdecomp._utils.lazy import lazily

if TYPE_CHECKING:
    from vitdecomp import datasets as datasets
    from vitdecomp import metrics as metrics
    from vitdecomp._utils.tolerance import TOLERANCE
    from vitdecomp._utils.version import __version__ as __version__
    from vitdecomp.ablation import Ablator
    from vitdecomp.component import Component, Token
    from vitdecomp.contributions import Contributions
    from vitdecomp.decompose import Decomposer
    from vitdecomp.deploy.debiased import Debiased, debiased, reweighted
    from vitdecomp.errors import (
        CoverageError,
        DamageError,
        InexactError,
        InputError,
        LoadError,
        NoRuleError,
        OutputError,
        RankError,
        SpecError,
        TraceError,
        VitdecompError,
    )
    from vitdecomp.heatmaps import Explainer, Heatmaps, explain, explainers, register_explainer
    from vitdecomp.latent import LatentTokens, edit_tokens
    from vitdecomp.models.adapter import Adapter, LoadedModel, Representation, load_model, register_adapter
    from vitdecomp.models.held import hold
    from vitdecomp.retrieval import Query, Retriever, Scope
    from vitdecomp.score import FeatureScorer
    from vitdecomp.store.store import Store
    from vitdecomp.trace.rule import data, frozen, gate, nonlinear, register_opening, register_rule
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "vitdecomp.ablation": ("Ablator",),
            "vitdecomp.models.adapter": ("Adapter", "LoadedModel", "Representation", "load_model", "register_adapter"),
            "vitdecomp.models.held": ("hold",),
            "vitdecomp.component": ("Component", "Token"),
            "vitdecomp.contributions": ("Contributions",),
            "vitdecomp.deploy.debiased": ("Debiased", "debiased", "reweighted"),
            "vitdecomp.decompose": ("Decomposer",),
            "vitdecomp.errors": (
                "CoverageError",
                "DamageError",
                "InexactError",
                "InputError",
                "LoadError",
                "NoRuleError",
                "OutputError",
                "RankError",
                "SpecError",
                "TraceError",
                "VitdecompError",
            ),
            "vitdecomp.heatmaps": ("Explainer", "Heatmaps", "explain", "explainers", "register_explainer"),
            "vitdecomp.latent": ("LatentTokens", "edit_tokens"),
            "vitdecomp.retrieval": ("Query", "Retriever", "Scope"),
            "vitdecomp.score": ("FeatureScorer",),
            "vitdecomp.store.store": ("Store",),
            "vitdecomp._utils.tolerance": ("TOLERANCE",),
            "vitdecomp._utils.version": ("__version__",),
            "vitdecomp.trace.rule": ("data", "frozen", "gate", "nonlinear", "register_opening", "register_rule"),
        },
        rooms=("datasets", "metrics"),
    )

__all__ = [
    "TOLERANCE",
    "Ablator",
    "Adapter",
    "Component",
    "Contributions",
    "CoverageError",
    "DamageError",
    "Debiased",
    "Decomposer",
    "Explainer",
    "FeatureScorer",
    "Heatmaps",
    "InexactError",
    "InputError",
    "LatentTokens",
    "LoadError",
    "LoadedModel",
    "NoRuleError",
    "OutputError",
    "Query",
    "RankError",
    "Representation",
    "Retriever",
    "Scope",
    "SpecError",
    "Store",
    "Token",
    "TraceError",
    "VitdecompError",
    "data",
    "debiased",
    "edit_tokens",
    "explain",
    "explainers",
    "frozen",
    "gate",
    "hold",
    "load_model",
    "nonlinear",
    "register_adapter",
    "register_explainer",
    "register_opening",
    "register_rule",
    "reweighted",
]
