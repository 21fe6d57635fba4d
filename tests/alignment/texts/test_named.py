"""Texts by name, or out of a file."""

import pytest
from vitdecomp_alignment.texts import FEATURE_WORDS, general_texts, named_texts, scene_texts, usual_texts

import vitdecomp as vd


def test_pools_and_files(tmp_path):
    assert named_texts("general") == general_texts()
    assert named_texts("scene") == scene_texts()
    assert set(named_texts("features")) == {word for words in FEATURE_WORDS.values() for word in words}
    (tmp_path / "own.txt").write_text("one\n# no text\ntwo\n")
    assert named_texts(str(tmp_path / "own.txt")) == ("one", "two")


def test_what_is_neither_is_refused():
    with pytest.raises(vd.InputError, match=r"no texts 'genral': give one of general, scene, features, or a file"):
        named_texts("genral")


def test_the_embedded_world_knows_its_own_words_alone():
    assert usual_texts("scenes:clip") == scene_texts()
    assert usual_texts("open_clip:ViT-B-16/laion2b_s34b_b88k") == general_texts()
