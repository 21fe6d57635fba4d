"""What is printed of objects is a few lines, and never an array."""

import numpy as np
import torch
from made_up import write_made
from torch import nn
from vitdecomp_alignment import ClipSpace, ClosedForm, TextSpan
from vitdecomp_alignment.clip.zero_shot import ZeroShot

import vitdecomp as vd
from vitdecomp._utils.summary import summary
from vitdecomp.ablation.linear_head import LinearHead
from vitdecomp.testing import AlignerContract


def test_values_stand_below_a_heading():
    text = summary("Thing: 3 parts", {"a": "x\ny", "longer": "z" * 200, "left out": None})
    heading, first, second = text.splitlines()
    assert (heading, first) == ("Thing: 3 parts", "  a       x y")
    assert second.startswith("  longer  zzz")
    assert second.endswith("...")
    assert len(second) < 120
    assert summary("Nothing", {}) == "Nothing"


def printed(place):
    c = AlignerContract().contributions(20)
    store = vd.Store(write_made(place / "s.lance", c))
    labels = np.arange(20) % 2
    yield store, "Store: 20 images"
    yield vd.Retriever(store, texts={"colour": torch.randn(2, c.dimension)}), "Retriever: 20 images"
    yield LinearHead.fit(c.total(), labels, 2), "LinearHead: 2 classes"
    yield ZeroShot(("a", "b"), torch.eye(2)), "ZeroShot: 2 classes"
    yield vd.LoadedModel(nn.Linear(3, 4), None, "m"), "LoadedModel: m"
    yield vd.Decomposer(nn.Linear(3, 4), by=("head", "token")), "Decomposer: embedding of Linear by ('head', 'token')"
    yield ClipSpace("scenes:clip"), "ClipSpace: scenes:clip"
    yield ClosedForm().fit(c, c.total()).maps_, "LinearMaps(components=<4 values: b.attn.head.0, "
    yield TextSpan(m=2).fit(c, torch.randn(9, c.dimension)).spans_[0], "Span(indices=("
    scorer = vd.FeatureScorer(bootstrap=0, shuffles=0).fit(c, {"a": torch.randn(2, c.dimension)})
    yield scorer, "FeatureScorer(bootstrap=0, shuffles=0)"
    yield scorer.choice_, "Choice(scores=<ndarray (1, 4)>"
    yield vd.Query(vector=torch.ones(3)), "Query(text=(), image=(), vector=<Tensor (3,)>"


def test_every_object_prints_as_a_few_lines(tmp_path):
    for thing, heading in printed(tmp_path):
        lines = str(thing).splitlines()
        assert lines[0].startswith(heading)
        assert len(lines) <= 9
        assert max(map(len, lines)) <= (130 if ": " in heading.split("(")[0] else 500)
        assert not [word for word in ("tensor(", "array(", "<vitdecomp") if word in repr(thing)]
