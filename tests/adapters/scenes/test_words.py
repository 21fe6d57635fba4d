"""The vocabulary of the embedded CLIP."""

import gzip
import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from vitdecomp_adapters.scenes import clip, vocabulary
from vitdecomp_adapters.scenes.words import tokenize, tokenizer

from vitdecomp.scenes import FACTORS, SceneDataset

SHIPPED = Path(clip.__file__).with_name("vocabulary.txt.gz")


def test_words_of_captions_are_one_token_each():
    captions = SceneDataset(500, seed=7).captions
    for caption, row in zip(captions, tokenize(captions), strict=True):
        pieces = re.findall(r"[a-z]+|,", caption)
        assert int((row > 0).sum()) == len(pieces) + 2  # and the signs for start and end
    names = [word for values in FACTORS.values() for value in values for word in value.split()]
    assert all(int((row > 0).sum()) == 3 for row in tokenize(names))


@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz ", max_size=25))
def test_any_text_comes_back_from_its_tokens(text):
    words = " ".join(text.split())
    row = [int(t) for t in tokenize([text])[0] if t]
    if len(words) < 20:
        assert tokenizer().decode(row).replace("<start_of_text>", "").replace("<end_of_text>", "").strip() == words


def test_the_vocabulary_is_made_by_its_script(tmp_path):
    vocabulary.write(SceneDataset(20_000).captions, 1024, tmp_path / "v.gz")
    assert gzip.decompress((tmp_path / "v.gz").read_bytes()) == gzip.decompress(SHIPPED.read_bytes())


def test_the_most_frequent_pair_is_merged_first():
    assert vocabulary.merges(["aab aab aac"], 1000)[:2] == [("a", "a"), ("aa", "b</w>")]


def test_a_small_vocabulary_keeps_to_its_size():
    assert len(vocabulary.merges(["some words that need many pieces"], vocabulary.SPECIAL + 5)) == 5
