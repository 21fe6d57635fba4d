"""The adapter keeps its contract, and the whole model is decomposed exactly with the rule."""

import torch
from vitdecomp_tessera.adapter import TesseraAdapter
from vitdecomp_tessera.library import Tessera

import vitdecomp as vd
from vitdecomp.testing import AdapterContract


class TestTessera(AdapterContract):
    adapter = TesseraAdapter
    name = "small"
    unknown = "smal"


def test_a_model_made_without_vitdecomp_has_named_heads() -> None:
    dec = vd.Decomposer(Tessera().eval()).fit(torch.randn(1, 3, 32, 32))
    assert dec.report_.heads == {"blocks.0.attn": 4, "blocks.1.attn": 4}
