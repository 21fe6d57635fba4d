"""Estimators keep scikit-learn's manners without importing it."""

import pytest
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.utils import get_tags
from vitdecomp_alignment import ClosedForm, CompAlign, LinearAlign, TextSpan

import vitdecomp as vd

EVERY = (
    CompAlign(epochs=3),
    LinearAlign(),
    ClosedForm(keep=0.5),
    TextSpan(m=4),
    vd.FeatureScorer(shuffles=0),
    vd.Ablator(["a"], directions=torch.ones(2, 3), aligner=CompAlign(epochs=7)),
)
each = pytest.mark.parametrize("made", EVERY, ids=lambda made: type(made).__name__)


@each
def test_a_clone_has_the_same_arguments(made):
    copy = clone(made)
    assert copy is not made
    assert repr(copy) == repr(made)
    assert get_tags(made) == BaseEstimator().__sklearn_tags__()


@pytest.mark.parametrize("deep", [False, True])
@each
def test_arguments_are_those_that_scikit_learn_finds(made, deep):
    theirs = type("Theirs", (BaseEstimator,), {"__init__": type(made).__init__})
    them = theirs.__new__(theirs)
    vars(them).update(vars(made))
    assert set(made.get_params(deep)) == set(BaseEstimator.get_params(them, deep))


def test_arguments_are_set_by_name_through_one_another():
    made = vd.Ablator(["a"], aligner=CompAlign(epochs=7))
    assert made.set_params(value="zero", aligner__epochs=9) is made
    assert (made.value, made.aligner.epochs) == ("zero", 9)
    made.set_params(aligner__epochs=4, aligner=CompAlign())  # the aligner first, whatever comes first
    assert made.aligner.epochs == 4


@pytest.mark.parametrize("name", ["epoch", "fit", "maps_", "aligner__epochs"])
def test_an_unknown_argument_is_refused_and_none_is_set(name):
    made = CompAlign(epochs=3)
    with pytest.raises(vd.SpecError, match=rf"CompAlign has no parameter '{name}'; there are: batch_size, bias, "):
        made.set_params(epochs=5, **{name: 1})
    assert made.epochs == 3


def test_what_differs_from_the_defaults_is_printed():
    assert [repr(made) for made in EVERY] == [
        "CompAlign(epochs=3)",
        "LinearAlign()",
        "ClosedForm(keep=0.5)",
        "TextSpan(m=4)",
        "FeatureScorer(shuffles=0)",
        "Ablator(aligner=CompAlign(epochs=7), components=['a'], directions=<Tensor (2, 3)>)",
    ]
    assert len(repr(vd.Ablator([f"blocks.{i}.mlp" for i in range(99)]))) < 90
