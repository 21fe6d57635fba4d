"""The general pool: what ships is what the lists and the templates make, in plain English."""

import re
from collections import Counter
from importlib.resources import files

import pytest
from typer import Typer
from typer.testing import CliRunner
from vitdecomp_alignment.texts import __main__ as script
from vitdecomp_alignment.texts import general_texts
from vitdecomp_alignment.texts.generate import (
    CAP,
    SEED,
    fill,
    general_pool,
    list_name,
    slots,
    templates,
    texts_by_kind,
    word_lists,
)
from vitdecomp_alignment.texts.grammar import Word
from vitdecomp_alignment.texts.lines import PACKAGE

A_BEFORE_A_VOWEL = {"eucalyptus", "ukulele", "unicorn", "uniform"}
AN_BEFORE_A_CONSONANT = {"hourglass", "x-ray"}
LISTS = {
    "thing": tuple(map(Word.parse, ["owl", "goose|geese", "cherry"])),
    "size": tuple(map(Word.parse, ["big", "old", "tiny"])),
}


@pytest.fixture(scope="module")
def pool():
    return general_pool()


@pytest.fixture(scope="module")
def kinds():
    return texts_by_kind()


def run(*arguments):
    app = Typer(add_completion=False)
    app.command()(script.main)
    return CliRunner().invoke(app, arguments)


def test_what_ships_is_what_the_script_makes(pool, tmp_path):
    out = tmp_path / "general.txt"
    assert general_texts() == pool, "make general.txt again: python -m vitdecomp_alignment.texts --out ..."
    assert run("--out", str(out)).exit_code == 0
    assert out.read_bytes() == run().stdout_bytes == "".join(f"{text}\n" for text in general_texts()).encode()


def test_a_place_that_cannot_be_written_to(tmp_path):
    found = run("--out", str(tmp_path / "none" / "general.txt"))
    assert found.exit_code == 2
    assert re.fullmatch(r"error: cannot write .*: there is no directory .*none\n", found.stderr)


def test_it_is_the_same_every_time_and_another_with_another_seed(pool):
    assert general_pool() == pool
    other = general_pool(SEED + 1)
    assert other != pool
    assert len(set(other) & set(pool)) > len(pool) / 2  # templates of one slot are not drawn


def test_several_thousand_distinct_short_texts(pool):
    assert 4000 <= len(pool) <= 6000
    assert len({text.lower() for text in pool}) == len(pool)
    assert [text for text in pool if not (text.isascii() and len(text) < 80)] == []


def test_texts_are_clean(pool):
    odd = re.compile(r"^[^a-z]|[{}|_#]|  |^ | $")
    assert [text for text in pool if odd.search(text)] == []


def test_articles_fit_the_word_after_them(pool):
    after = {
        article: {word for text in pool for word in re.findall(rf"\b{article} (\S+)", text)} for article in ("a", "an")
    }
    assert {word for word in after["a"] if word[0] in "aeiou"} == A_BEFORE_A_VOWEL
    assert {word for word in after["an"] if word[0] not in "aeiou"} == AN_BEFORE_A_CONSONANT
    assert not after["an"] & A_BEFORE_A_VOWEL
    assert len(after["an"]) > 50


def test_no_kind_dominates(pool, kinds):
    assert len(kinds) >= 40
    assert max(map(len, kinds.values())) < 0.05 * len(pool)


def test_every_list_and_every_word_is_used(pool):
    named = {list_name(slot) for found in templates().values() for template in found for slot in slots(template)}
    assert named == set(word_lists())
    together = "\n".join(pool)
    assert [word.one for words in word_lists().values() for word in words if not said(word, together)] == []


def said(word, together):
    return word.one in together or word.many in together


def test_no_list_repeats_a_word_and_no_template_stands_twice():
    places = [*files(PACKAGE).joinpath("words").iterdir(), files(PACKAGE).joinpath("templates.txt")]
    for place in places:
        count = Counter(filter(None, place.read_text(encoding="utf-8").splitlines()))
        assert [line for line, n in count.items() if n > 1] == [], place.name


def test_one_slot_takes_all_words_in_their_order():
    assert fill("a {thing}", LISTS, SEED, cap=1) == ["an owl", "a goose", "a cherry"]
    assert fill("two {thing:many}", LISTS, SEED, cap=1) == ["two owls", "two geese", "two cherries"]
    assert fill("a tall object", LISTS, SEED, cap=1) == ["a tall object"]


def test_combinations_are_capped_and_two_slots_of_a_list_differ():
    everything = fill("a {size} {thing}", LISTS, SEED, CAP)
    assert len(everything) == 9
    some = fill("a {size} {thing}", LISTS, SEED, cap=4)
    assert some == [text for text in everything if text in some]
    assert len(some) == 4
    assert fill("{size} or {size2}", LISTS, SEED, CAP) == [
        "big or old",
        "big or tiny",
        "old or big",
        "old or tiny",
        "tiny or big",
        "tiny or old",
    ]
