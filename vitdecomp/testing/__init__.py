"""Tests that come with the package: authors of plug-ins inherit them. See docs/examples/vitdecomp-tessera."""

from vitdecomp.models.random_weights import randomise
from vitdecomp.testing.adapter import AdapterContract
from vitdecomp.testing.aligner import AlignerContract
from vitdecomp.testing.explainer import ExplainerContract
from vitdecomp.testing.model import ModelContract
from vitdecomp.testing.operation import Case, Data, Frozen, Size
from vitdecomp.testing.rule import RuleContract
from vitdecomp.testing.untouched import snapshot, untouched

__all__ = [
    "AdapterContract",
    "AlignerContract",
    "Case",
    "Data",
    "ExplainerContract",
    "Frozen",
    "ModelContract",
    "RuleContract",
    "Size",
    "randomise",
    "snapshot",
    "untouched",
]
