"""Settings as they are typed."""

import pytest
from vitdecomp_alignment.aligners.settings import make_aligner

import vitdecomp as vd
from vitdecomp.testing import AlignerContract


def test_every_setting_can_be_typed():
    for method in ("compalign", "closed-form", "linear"):
        for name, value in make_aligner(method, 5).get_params().items():
            typed = "null" if value is None else str(value).lower() if isinstance(value, bool) else value
            made = make_aligner(method, 5, [f"{name}={typed}"])
            assert made.get_params()[name] == value, name


@pytest.mark.parametrize(("word", "value"), [(".2", 0.2), ("1e-1", 0.1), ("+.5", 0.5), ("0", 0.0), ("0.", 0.0)])
def test_a_number_may_be_written_in_any_way(word, value):
    made = make_aligner("compalign", 0, [f"validation_fraction={word}", f"orthogonality={word}"])
    assert made.validation_fraction == made.orthogonality == value
    assert make_aligner("compalign", 0, ["orthogonality=hard"]).orthogonality == "hard"
    assert make_aligner("closed-form", 0, ["ridge=.1"]).ridge == 0.1
    with pytest.raises(vd.SpecError, match=r"--set validation_fraction takes a number, not '0\.2\.'"):
        make_aligner("compalign", 0, ["validation_fraction=0.2."])


@pytest.mark.parametrize("method", ["compalign", "closed-form", "linear"])
def test_a_negative_seed_is_refused(method):
    c = AlignerContract().contributions(9)
    with pytest.raises(vd.SpecError, match="random_state must be a whole number of 0 or more, not -1"):
        make_aligner(method, 0, ["random_state=-1"]).fit(c, c.total())


def test_a_seed_that_is_typed_is_taken():
    assert make_aligner("compalign", 5).random_state == 5
    assert make_aligner("compalign", 5, ["random_state=7"]).random_state == 7


@pytest.mark.parametrize("text", ["epoch=1", "epochs", "=1", "Epochs=1"])
def test_an_unknown_setting_is_told_all_that_there_are(text):
    with pytest.raises(vd.SpecError, match="--set takes NAME=VALUE") as told:
        make_aligner("compalign", 0, [text])
    assert "epochs (a whole number)" in str(told.value)
    assert "orthogonality (a number or a word)" in str(told.value)
