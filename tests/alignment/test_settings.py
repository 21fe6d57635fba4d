"""Settings as they are typed."""

import pytest
from vitdecomp_alignment.settings import make_aligner

import vitdecomp as vd


def test_every_setting_can_be_typed():
    for method in ("compalign", "closed-form", "linear"):
        for name, value in make_aligner(method, 5).get_params().items():
            typed = "null" if value is None else str(value).lower() if isinstance(value, bool) else value
            made = make_aligner(method, 5, [f"{name}={typed}"])
            assert made.get_params()[name] == value, name


def test_a_seed_that_is_typed_is_taken():
    assert make_aligner("compalign", 5).random_state == 5
    assert make_aligner("compalign", 5, ["random_state=7"]).random_state == 7


@pytest.mark.parametrize("text", ["epoch=1", "epochs", "=1", "Epochs=1"])
def test_an_unknown_setting_is_told_all_that_there_are(text):
    with pytest.raises(vd.SpecError, match="--set takes NAME=VALUE") as told:
        make_aligner("compalign", 0, [text])
    assert "epochs (a whole number)" in str(told.value)
    assert "orthogonality (a number or a word)" in str(told.value)
