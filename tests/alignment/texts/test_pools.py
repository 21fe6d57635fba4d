"""Pools of texts: a user's file says what was written into it, and every complaint says what to do."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from vitdecomp_alignment.texts import FEATURE_WORDS, general_texts, read_texts

from vitdecomp.errors import InputError

LINES = (
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\ufeff"), min_size=1, max_size=20)
    .map(str.strip)
    .filter(lambda line: line and not line.startswith("#"))
)
SOME = settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def written(folder, content, encoding="utf-8"):
    path = folder / "texts.txt"
    path.write_bytes(content.encode(encoding))
    return path


@SOME
@given(texts=st.lists(LINES, min_size=1, unique=True), end=st.sampled_from(["\n", "\r\n"]))
def test_reading_gives_back_what_was_written(tmp_path, texts, end):
    assert read_texts(written(tmp_path, end.join(texts))) == tuple(texts)
    assert read_texts(written(tmp_path, end.join([*texts, ""]), "utf-8-sig")) == tuple(texts)


@SOME
@given(texts=st.lists(LINES, min_size=1, unique=True), data=st.data())
def test_comments_blanks_spaces_and_repetitions_change_nothing(tmp_path, texts, data):
    noise = st.sampled_from(["", "  ", "# a comment", "#", "\t# another", f"  {texts[0]} ", texts[0]])
    lines = [texts[0]]
    for text in texts[1:]:
        lines += [*data.draw(st.lists(noise, max_size=3)), f" {text}\t"]
    assert read_texts(written(tmp_path, "\n".join(["# heading", "", *lines, texts[-1]]))) == tuple(texts)


def test_the_order_is_that_of_the_file_and_the_first_of_equals_stays(tmp_path):
    assert read_texts(written(tmp_path, "b\na\nb\nc # not a comment\n#a\n")) == ("b", "a", "c # not a comment")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, r"^there is no file .*texts\.txt; give a text file, one text a line$"),
        (b"caf\xe9\n", r"texts\.txt is not UTF-8 text \(byte 3\); save it as UTF-8"),
        ("a cat".encode("utf-16"), "is not UTF-8 text"),
        (b"", r"^no texts in .*texts\.txt: write one a line"),
        (b"# only\n\n  # comments\n", "no texts in .*lines that begin with # do not count"),
    ],
)
def test_what_cannot_be_read(tmp_path, content, words):
    path = tmp_path / "texts.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=words) as raised:
        read_texts(path)
    assert "\n" not in str(raised.value)


def test_a_directory_holds_no_texts(tmp_path):
    with pytest.raises(InputError, match=r"cannot read texts from .*: it is a directory; give a text file"):
        read_texts(tmp_path)


def test_a_file_that_the_system_refuses(tmp_path, monkeypatch):
    path = written(tmp_path, "a cat")
    with monkeypatch.context() as patch:
        patch.setattr("os.open", lambda *_, **__: (_ for _ in ()).throw(PermissionError(13, "denied")))
        with pytest.raises(InputError, match=r"cannot read .*texts\.txt: denied"):
            read_texts(path)


def test_the_pool_that_ships_can_be_read_as_a_users_own(tmp_path):
    assert read_texts(written(tmp_path, "\n".join(general_texts()))) == general_texts()


def test_the_feature_words_are_those_of_the_paper():
    assert {feature: len(words) for feature, words in FEATURE_WORDS.items()} == {
        "color": 6,
        "texture": 7,
        "animal": 7,
        "person": 7,
        "location": 7,
        "pattern": 5,
        "shape": 4,
        "fabric": 5,
    }
    assert FEATURE_WORDS["color"][0] == "blue color"
    with pytest.raises(TypeError):
        FEATURE_WORDS["color"] = ()


@pytest.mark.parametrize("feature", FEATURE_WORDS)
def test_the_general_pool_speaks_of_every_feature(feature):
    pool = "\n".join(general_texts())
    assert [word for word in FEATURE_WORDS[feature] if word.removesuffix(" color") not in pool] == []
