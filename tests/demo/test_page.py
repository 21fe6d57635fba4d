"""The report stands alone: valid, readable without anything else, and with no figure that the summary lacks."""

import pytest
from helpers_demo import numbers
from html_reader import read

from vitdecomp.demo.figure import Number, Sentence
from vitdecomp.demo.page import words
from vitdecomp.demo.story import story

pytestmark = pytest.mark.xdist_group("demo")  # which is made once


@pytest.fixture(scope="module")
def reader(page):
    return read(page)


def test_the_reader_refuses_what_is_not_closed():
    with pytest.raises(AssertionError):
        read("<p><b>text</p>")


def test_elements_are_balanced_and_identifiers_unique(reader):
    found = [attributes["id"] for _, attributes in reader.elements if "id" in attributes]
    assert len(found) == len(set(found))
    assert len(reader.all("h1")) == 1
    targets = {a["href"].removeprefix("#") for a in reader.all("a") if a["href"].startswith("#")}
    assert targets == {step.name for step in story()} <= set(found)


def test_nothing_is_fetched(reader, page):
    assert {"script", "link", "iframe"}.isdisjoint(tag for tag, _ in reader.elements)
    assert reader.all("img")
    assert all(image["src"].startswith("data:image/png;base64,") for image in reader.all("img"))
    links = {a["href"] for a in reader.all("a") if "//" in a["href"]}
    assert all(link.startswith("https://arxiv.org/abs/") for link in links)
    assert page.count("://") == sum("//" in a["href"] for a in reader.all("a"))
    assert "@import" not in page
    assert "url(" not in page


def test_every_picture_is_described(reader):
    assert all(image["alt"].strip() for image in reader.all("img"))


def test_every_figure_of_the_page_is_in_the_summary(reader, summary):
    shown = [float(data["value"]) for data in reader.all("data") if "value" in data]
    assert len(shown) > 200
    assert set(shown) <= set(numbers(summary))


def test_the_page_is_small_enough_to_be_sent(page):
    assert len(page.encode()) < 3e6


def test_what_users_name_is_escaped():
    assert words("<b>") == "&lt;b&gt;"
    assert words(Sentence("of {name}", {"name": "<i>"})) == "of &lt;i&gt;"


@pytest.mark.parametrize(
    ("value", "style", "text"),
    [
        (1234, "count", "1,234"),
        (0.256, "percent", "26%"),
        (-0.004, "signed", "0.00"),
        (-0.25, "signed", "−0.25"),
        (0.25, "signed", "+0.25"),
        (0.034, "points", "+3 points"),
        (4.2e-7, "power", "4.2·10⁻⁷"),
        (0.0, "power", "0"),
        (float("nan"), "score", "–"),
    ],
)
def test_figures_are_written_as_people_do(value, style, text):
    assert str(Number(value, style)) == text


def test_figures_keep_their_full_value():
    assert words(Number(0.123456)) == '<data value="0.123456">0.12</data>'
    assert "value" not in words(Number(float("nan")))
