"""Sheets show what was found, in one file that needs nothing else."""

import hashlib
import os
import time
from pathlib import Path

import pytest
from PIL import Image

import vitdecomp as vd
from vitdecomp.datasets import open_pictures
from vitdecomp.retrieval import Hit
from vitdecomp.retrieval.hit_images import InDataSet, InFolders, thumbnail_of
from vitdecomp.retrieval.sheet import WHOLE, Sheet, check_sheet, write_sheet

INLINED = "data:image/jpeg;base64,"


@pytest.fixture
def sheet(tmp_path):
    picture = Image.new("RGB", (300, 200), "#ff0000")
    picture.save(tmp_path / "red.png")
    hits = (
        Hit(4, "red <b>", tmp_path / "red.png", 0.75),
        Hit(2, "gone", tmp_path / "gone.png", 0.5),
        Hit(1, "unknown", None, 0.25),
    )
    return Sheet("3 images", 'like "red & round"', (picture,), hits, images=InFolders([tmp_path]))


def page_of(sheet, place):
    write_sheet(sheet, place / "hits.html")
    return (place / "hits.html").read_text(encoding="utf-8")


def test_a_page_holds_its_pictures(sheet, tmp_path):
    page = page_of(sheet, tmp_path)
    assert page.count(INLINED) == 2
    assert page.count("no picture: its file is gone") == 2
    assert "red &lt;b&gt;" in page
    assert "red &amp; round" in page
    assert '<data value="0.75">0.750</data>' in page
    assert f'<a href="{(tmp_path / "red.png").as_uri()}">' in page
    assert "prefers-color-scheme: dark" in page
    assert "default-src 'none'" in page
    assert "http:" not in page.replace("http-equiv", "")
    assert WHOLE not in page


def test_the_same_search_in_the_whole_embedding_is_below(sheet, tmp_path):
    both = Sheet(sheet.title, sheet.asked, (), sheet.hits[:1], sheet.hits[:1], sheet.images, ("row 3 <i> is left out",))
    page = page_of(both, tmp_path)
    above, below = page.split(f"<h2>{WHOLE}</h2>")
    assert above.count(INLINED) == below.count(INLINED) == 1
    assert "row 3 &lt;i&gt; is left out" in above
    write_sheet(both, tmp_path / "hits.png")
    with Image.open(tmp_path / "hits.png") as found:
        assert found.height > 2 * 160


def test_a_picture_shows_the_hits_below_what_was_asked(sheet, tmp_path):
    write_sheet(sheet, tmp_path / "hits.png")
    with Image.open(tmp_path / "hits.png") as page:
        pixels = page.convert("RGB")
        red = [y for y in range(pixels.height) if pixels.getpixel((60, y)) == (255, 0, 0)]
        assert pixels.getpixel((250, pixels.height - 60)) == (0xE8, 0xE8, 0xE8)  # its file is gone
    assert len(red) == 2 * round(160 * 200 / 300)


def test_nothing_is_shown_unless_a_folder_is_named(sheet, tmp_path):
    page = page_of(Sheet(sheet.title, sheet.asked, (), sheet.hits), tmp_path)
    assert INLINED not in page
    assert "href" not in page
    assert page.count("no picture: no folder is named with --image-root") == 3


SECRET = "secret.png"


def secret(place):
    """A folder that is named, and a file beside it that is not to be shown."""
    (place / "named").mkdir()
    Image.new("RGB", (9, 9), "blue").save(place / SECRET)
    return place / "named"


def linked(place, target):
    (secret(place) / "x.png").symlink_to(target)
    return place / "named" / "x.png"


def pipe(place):
    os.mkfifo(secret(place) / "x.png")
    return place / "named" / "x.png"


def holding(place, data):
    path = secret(place) / "x.png"
    path.write_bytes(data)
    return path


def linked_folder(place):
    (secret(place) / "out").symlink_to(place)
    return place / "named" / "out" / SECRET


def huge(place):
    path = holding(place, b"")
    os.truncate(path, 2**40)
    return path


def bomb(place):
    path = secret(place) / "x.png"
    Image.new("1", (11_000, 11_000)).save(path)
    return path


OUTSIDE = "its file is not below"
HOSTILE = {
    "beside the folder": (lambda place: secret(place).parent / SECRET, OUTSIDE),
    "dots": (lambda place: secret(place) / ".." / SECRET, OUTSIDE),
    "relative dots": (lambda place: secret(place) and Path("..") / SECRET, OUTSIDE),
    "a system file": (lambda place: secret(place) and Path("/etc/passwd"), OUTSIDE),
    "a device": (lambda place: secret(place) and Path("/dev/zero"), OUTSIDE),
    "a link out": (lambda place: linked(place, place / SECRET), OUTSIDE),
    "a linked folder": (linked_folder, OUTSIDE),
    "a link to a device": (lambda place: linked(place, "/dev/zero"), OUTSIDE),
    "a circle": (lambda place: linked(place, "x.png"), "not a valid file name|links|Symlink"),
    "a NUL byte": (lambda place: Path(f"{secret(place)}/a\0b.png"), "not a valid file name"),
    "a pipe": (pipe, "it is not a regular file"),
    "the folder itself": (secret, "it is a folder"),
    "too large": (huge, "more than"),
    "too many pixels": (bomb, "Image size"),
    "PostScript": (
        lambda place: holding(place, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
        "not one of those that are read",
    ),
    "PDF": (lambda place: holding(place, b"%PDF-1.4\n"), "not one of those that are read"),
    "no image": (lambda place: holding(place, b"root:x:0:0"), "not one of those that are read"),
    "a long name": (lambda place: secret(place) / ("a" * 5000), "name too long"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_page_is_made_of_whatever_paths_a_store_has(tmp_path, case):
    make, reason = HOSTILE[case]
    path = make(tmp_path)
    sheet = Sheet("x", "y", (), [Hit(0, "id", path, 0.5)], images=InFolders([tmp_path / "named"]))
    start = time.monotonic()
    page = page_of(sheet, tmp_path)
    write_sheet(sheet, tmp_path / "hits.png")
    assert time.monotonic() - start < 10
    assert INLINED not in page
    assert "href" not in page
    assert "no picture: " in page
    made = thumbnail_of(sheet.hits[0], sheet.images)
    assert made.image is None
    assert any(part in made.reason for part in reason.split("|")), made.reason


def test_a_file_must_be_the_one_that_was_taken_apart(tmp_path):
    folder = secret(tmp_path)
    Image.new("RGB", (9, 9), "red").save(folder / "x.png")
    hit = Hit(3, "x.png", folder / "x.png", 0.5)
    digest = hashlib.sha256((folder / "x.png").read_bytes()).hexdigest()
    assert thumbnail_of(hit, InFolders([folder], {3: digest})).image is not None
    Image.new("RGB", (9, 9), "green").save(folder / "x.png")
    assert "changed since it was decomposed" in thumbnail_of(hit, InFolders([folder], {3: digest})).reason


def test_images_that_were_moved_are_found_by_their_ids(tmp_path):
    (tmp_path / "now" / "cat").mkdir(parents=True)
    Image.new("RGB", (9, 9)).save(tmp_path / "now" / "cat" / "ä #1?.png")
    hit = Hit(0, "cat/ä #1?.png", Path("/before/cat/ä #1?.png"), 0.5)
    made = thumbnail_of(hit, InFolders([tmp_path / "elsewhere", tmp_path / "now"]))
    assert made.image is not None
    assert made.link == f"file://{tmp_path}/now/cat/%C3%A4%20%231%3F.png"


def test_images_of_a_data_set_are_found_by_their_ids(tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "x.png")
    images = InDataSet.of(open_pictures(tmp_path))
    assert thumbnail_of(Hit(7, "x.png", Path("/dev/zero"), 0.5), images).image is not None
    assert thumbnail_of(Hit(7, "../x.png", tmp_path / "x.png", 0.5), images).reason == "it is not in the data set"


def test_names_are_text(tmp_path):
    name = '"><script>alert(1)</script>\udcff\x1b[0m\0'
    hits = [Hit(0, name, Path(f"javascript:{name}"), 0.5), Hit(1, "x" * 100_000, None, 0.1)]
    page = page_of(Sheet(name, name, (), hits, notes=(name,)), tmp_path)
    assert "<script" not in page
    assert "href" not in page
    assert not {"\0", "\x1b"} & {*page}
    write_sheet(Sheet(name, name, (), hits, notes=(name,)), tmp_path / "hits.png")


def test_other_kinds_and_places_are_refused(sheet, tmp_path):
    with pytest.raises(vd.SpecError, match=r"\.html or \.png, not as hits\.pdf"):
        check_sheet(tmp_path / "hits.pdf")
    with pytest.raises(vd.OutputError, match="no directory"):
        check_sheet(tmp_path / "none" / "hits.png")
    assert not list(Path(tmp_path).glob("hits*"))
