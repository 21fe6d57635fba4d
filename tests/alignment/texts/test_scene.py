"""The pool for the embedded world follows its generator."""

import re
from functools import cache
from itertools import combinations, product

import pytest
from vitdecomp_alignment.texts import scene, scene_texts

from vitdecomp.scenes import FACTORS
from vitdecomp.scenes.captions import NOUNS

PAIRS = list(combinations(FACTORS, 2))


@cache
def naming(value):
    word = re.compile(rf"\b{value}\b")
    return {text for text in scene_texts() if word.search(text)}


@pytest.mark.parametrize("factor", FACTORS)
def test_every_value_of_every_factor_is_named(factor):
    assert [value for value in FACTORS[factor] if not naming(value)] == []
    assert not naming("mauve")


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_so_are_every_two_values_of_two_factors(pair):
    said = product(*(FACTORS[factor] for factor in pair))
    assert [(one, other) for one, other in said if not naming(one) & naming(other)] == []


def test_texts_are_distinct_and_short_and_the_same_every_time():
    texts = scene_texts()
    assert len(set(texts)) == len(texts) > sum(len(FACTORS[a]) * len(FACTORS[b]) for a, b in PAIRS)
    assert scene_texts() == texts
    assert [text for text in texts if not re.fullmatch(r"[a-z]+( [a-z]+)*", text) or len(text) >= 80] == []
    assert [text for text in texts if re.search(r"\ba [aeiou]|\ban [^aeiou]", text)] == []


@pytest.mark.parametrize(
    "text",
    ["an arrow", "an orange thing", "something in a forest", "a small star", "a thing in the snow at the top left"],
)
def test_how_they_read(text):
    assert text in scene_texts()


def test_no_text_names_three_factors():
    assert "a small star in the snow" not in scene_texts()


def test_a_value_that_the_generator_lacks_has_no_texts(monkeypatch):
    monkeypatch.setattr(scene, "FACTORS", {**FACTORS, "shape": FACTORS["shape"][:-1]})
    gone = set(NOUNS[FACTORS["shape"][-1]])
    assert [text for text in scene_texts() if gone & set(text.split())] == []
