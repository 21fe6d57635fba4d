"""A caption says nothing that the labels do not."""

import re

from vitdecomp.scenes import SceneDataset
from vitdecomp.scenes.captions import (
    BRIEF,
    COLOURS,
    NOUNS,
    PATTERNS,
    PLACES,
    SCENERY,
    SECONDS,
    SIZES,
    SPOTS,
    TEMPLATES,
    WITH,
)

PHRASES = {
    "shape": [NOUNS],
    "colour": [COLOURS],
    "pattern": [PATTERNS, WITH],
    "location": [PLACES, SCENERY],
    "size": [SIZES],
    "position": [SPOTS],
}
DATA = SceneDataset(800)
ENDING = re.compile(r", next to a smaller .*|, with an? smaller .* nearby")


def phrases(name: str, value: str) -> list[str]:
    found = {phrase for table in PHRASES[name] for phrase in table[value] if phrase}
    return sorted(found, key=len, reverse=True)


def strip(text: str, found: list[str]) -> str:
    for phrase in found:
        text = re.sub(rf"\b{phrase}\b", "#", text)
    return text


def claims(text: str, values: dict[str, str]) -> dict[str, list[str]]:
    """For every factor, the values that a text names."""
    named = {}
    for name, own in values.items():
        rest = strip(text, phrases(name, own))
        named[name] = [own] if rest != text else []
        others = [value for value in PHRASES[name][0] if value != own]
        named[name] += [value for value in others if strip(rest, phrases(name, value)) != rest]
    return named


def test_captions_name_what_is_there_and_nothing_else():
    told = dict.fromkeys(PHRASES, 0)
    for index in range(800):
        scene = DATA.scene(index)
        named = claims(ENDING.sub("", scene.caption), scene.values)
        for name, values in named.items():
            assert values in ([], [getattr(scene, name)]), (name, scene.caption)
            told[name] += len(values)
    assert 0.7 * 800 < told["shape"] < 0.95 * 800
    assert 0.65 * 800 < told["colour"] < 0.9 * 800
    assert 0.6 * 800 < told["location"] < 0.9 * 800
    assert 0.35 * 800 < told["pattern"] < 0.8 * 800
    assert 0.1 * 800 < told["size"] < 0.6 * 800
    assert 0.1 * 800 < told["position"] < 0.6 * 800


def test_full_captions_name_shape_and_colour_and_brief_ones_one_thing_or_two():
    told = [claims(ENDING.sub("", DATA.scene(i).caption), DATA.scene(i).values) for i in range(800)]
    counts = [sum(map(len, named.values())) for named in told]
    brief = [named for named, count in zip(told, counts, strict=True) if count <= 2]
    full = [named for named, count in zip(told, counts, strict=True) if count > 2]
    assert 0.15 * 800 < len(brief) < 0.35 * 800
    assert all(named["shape"] and named["colour"] for named in full)


def test_the_check_sees_a_lie():
    values = DATA.scene(0).values
    lie = next(value for value in NOUNS if value != values["shape"])
    assert claims(f"a red {lie} at the top", values)["shape"] == [lie]


def test_the_second_object_is_named_as_it_is():
    mentioned = 0
    for index in range(800):
        scene = DATA.scene(index)
        ending = ENDING.search(scene.caption)
        if ending is None:
            continue
        mentioned += 1
        assert f"{scene.second.colour} {scene.second.shape}" in ending.group()
    assert 0.04 * 800 < mentioned < 0.12 * 800


def test_captions_are_plain_lower_case_sentences_of_few_words():
    tables = [table for group in PHRASES.values() for table in group]
    text = " ".join([*TEMPLATES, *BRIEF, *SECONDS, *(p for table in tables for value in table.values() for p in value)])
    words = set(re.findall(r"[a-z]+", re.sub(r"\{.*?\}", " ", text)))
    assert len(words) < 200
    for caption in DATA.captions:
        assert re.fullmatch(r"[a-z]+(,? [a-z]+)*", caption), caption
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", caption), caption
        assert set(re.findall(r"[a-z]+", caption)) <= words | {"an"}
    assert len(set(DATA.captions)) > 400
