"""The vocabulary of the embedded CLIP."""

import gzip
import re
from pathlib import Path

import open_clip
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from vitdecomp_adapters.scenes import clip, vocabulary
from vitdecomp_adapters.scenes.words import tokenize

from vitdecomp.scenes import FACTORS, SceneDataset

ODD = [
    "",
    " \t\n",
    "A RED Circle, on GRASS!",
    "it's they're I'D we'll 'S don''t",
    "12 dogs3 ½ ² ٣",
    "naïve Ünïcode 漢字 🙂 İ ſ ß \u0301",
    "&lt;b&gt; &amp;amp;lt; &#39;s &nbsp; &notanentity;",
    "schÃ¶n â€œquotedâ€\x9d ﬁ \ufeff \u2028",
    "<start_of_text> <END_OF_TEXT>x <end_of_text",
    "</w> unused1 a</w>",
    "\x00\x1b[31m\x85\xad",
    "\ud800 alone",
    "circle " * 29,
    "circle " * 30,
    "circle " * 31,
    "x" * 5000,
]
SHIPPED = Path(clip.__file__).with_name("vocabulary.txt.gz")


def test_words_of_captions_are_one_token_each():
    captions = SceneDataset(500, seed=7).captions
    for caption, row in zip(captions, tokenize(captions), strict=True):
        pieces = re.findall(r"[a-z]+|,", caption)
        assert int((row > 0).sum()) == len(pieces) + 2  # and the signs for start and end
    names = [word for values in FACTORS.values() for value in values for word in value.split()]
    assert all(int((row > 0).sum()) == 3 for row in tokenize(names))


@pytest.fixture(scope="module")
def theirs():
    """open_clip's tokenizer."""
    clip.register()
    return open_clip.get_tokenizer(clip.NAME)


def test_scenes_and_odd_texts_have_the_tokens_of_open_clip(theirs):
    texts = [*SceneDataset(300, seed=8).captions, *ODD]
    assert torch.equal(tokenize(texts), theirs(texts))


@given(st.text(max_size=60) | st.text(alphabet="abcdeirst'&;<>_ 0½é", max_size=60))
@example("")
def test_any_text_has_the_tokens_of_open_clip(theirs, text):
    assert torch.equal(tokenize([text]), theirs([text]))


@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz ", max_size=25))
def test_any_text_comes_back_from_its_tokens(theirs, text):
    words = " ".join(text.split())
    row = [int(t) for t in tokenize([text])[0] if t]
    if len(words) < 20:
        assert theirs.decode(row).replace("<start_of_text>", "").replace("<end_of_text>", "").strip() == words


def test_the_vocabulary_is_made_by_its_script(tmp_path):
    vocabulary.write(SceneDataset(20_000).captions, 1024, tmp_path / "v.gz")
    assert gzip.decompress((tmp_path / "v.gz").read_bytes()) == gzip.decompress(SHIPPED.read_bytes())


def test_the_most_frequent_pair_is_merged_first():
    assert vocabulary.merges(["aab aab aac"], 1000)[:2] == [("a", "a"), ("aa", "b</w>")]


def test_a_small_vocabulary_keeps_to_its_size():
    assert len(vocabulary.merges(["some words that need many pieces"], vocabulary.SPECIAL + 5)) == 5
