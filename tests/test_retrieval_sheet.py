"""Sheets show what was found, in one file that needs nothing else."""

from pathlib import Path

import pytest
from PIL import Image

import vitdecomp as vd
from vitdecomp.retrieval import Hit
from vitdecomp.retrieval.sheet import Sheet, check_sheet, write_sheet


@pytest.fixture
def sheet(tmp_path):
    picture = Image.new("RGB", (300, 200), "#ff0000")
    picture.save(tmp_path / "red.png")
    hits = (
        Hit(4, "red <b>", tmp_path / "red.png", 0.75),
        Hit(2, "gone", tmp_path / "gone.png", 0.5),
        Hit(1, "unknown", None, 0.25),
    )
    return Sheet("3 images", 'like "red & round"', (picture,), hits)


def test_a_page_holds_its_pictures(sheet, tmp_path):
    write_sheet(sheet, tmp_path / "hits.html")
    page = (tmp_path / "hits.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") == 2
    assert page.count("no picture") == 2
    assert "red &lt;b&gt;" in page
    assert "red &amp; round" in page
    assert '<data value="0.75">0.750</data>' in page
    assert "http" not in page


def test_a_picture_shows_the_hits_below_what_was_asked(sheet, tmp_path):
    write_sheet(sheet, tmp_path / "hits.png")
    with Image.open(tmp_path / "hits.png") as page:
        pixels = page.convert("RGB")
        red = [y for y in range(pixels.height) if pixels.getpixel((60, y)) == (255, 0, 0)]
        assert pixels.getpixel((250, pixels.height - 60)) == (0xE8, 0xE8, 0xE8)  # its file is gone
    assert len(red) == 2 * round(160 * 200 / 300)


def test_other_kinds_and_places_are_refused(sheet, tmp_path):
    with pytest.raises(vd.SpecError, match=r"\.html or \.png, not as hits\.pdf"):
        check_sheet(tmp_path / "hits.pdf")
    with pytest.raises(vd.OutputError, match="no directory"):
        check_sheet(tmp_path / "none" / "hits.png")
    assert not list(Path(tmp_path).glob("hits*"))
