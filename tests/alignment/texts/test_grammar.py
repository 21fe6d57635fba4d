"""Articles and plurals."""

import pytest
from vitdecomp_alignment.texts.grammar import Word, plural, with_articles


@pytest.mark.parametrize(
    ("noun", "many"),
    [
        ("owl", "owls"),
        ("box", "boxes"),
        ("bus", "buses"),
        ("watch", "watches"),
        ("paintbrush", "paintbrushes"),
        ("cherry", "cherries"),
        ("toy", "toys"),
        ("pine cone", "pine cones"),
    ],
)
def test_usual_plurals(noun, many):
    assert plural(noun) == many
    assert Word.parse(noun) == Word(noun, many)


def test_a_list_may_name_another_plural():
    assert f"{Word.parse('goose|geese')}, {Word.parse('goose|geese'):many}" == "goose, geese"


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("a owl on a table", "an owl on a table"),
        ("a old photo of a elk", "an old photo of an elk"),
        ("a hourglass, a x-ray image", "an hourglass, an x-ray image"),
        ("a house, a horn", "a house, a horn"),
        ("a unicorn in a uniform", "a unicorn in a uniform"),
        ("a unusual umbrella, a uninvited guest", "an unusual umbrella, an uninvited guest"),
        ("a used ukulele, a one-way street", "a used ukulele, a one-way street"),
        ("a onion", "an onion"),
        ("the letter A on a sign", "the letter A on a sign"),
        ("a sofa under umbrellas", "a sofa under umbrellas"),
    ],
)
def test_articles(text, right):
    assert with_articles(text) == right
    assert with_articles(right) == right
