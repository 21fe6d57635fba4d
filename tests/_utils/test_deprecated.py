"""Old names work, and say so."""

from __future__ import annotations

import pytest
from sklearn.base import clone

import vitdecomp as vd
from vitdecomp._utils.deprecated import renamed


@renamed(colour="color")
def painted(what: str, *, color: str = "red") -> str:
    return f"{color} {what}"


def test_an_old_name_stands_for_the_new_one() -> None:
    with pytest.warns(DeprecationWarning, match="colour= is deprecated: use color="):
        assert painted("wall", colour="blue") == painted("wall", color="blue") == "blue wall"


def test_both_names_at_once_are_refused() -> None:
    with pytest.raises(TypeError, match="colour is the old name of color"):
        painted("wall", colour="blue", color="red")


def test_scorers_take_the_old_spelling_and_keep_the_new_one() -> None:
    with pytest.warns(DeprecationWarning, match="centre= is deprecated"):
        old = vd.FeatureScorer(centre="pool")
    assert old.get_params() == vd.FeatureScorer(center="pool").get_params() == clone(old).get_params()
    assert "centre" not in old.get_params()
