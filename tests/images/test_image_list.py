"""Images are found through links, and without what systems put beside them."""

import logging
import os

import pytest
from PIL import Image

import vitdecomp as vd
from vitdecomp import datasets
from vitdecomp.images import opening as images
from vitdecomp.images.formats import suffixes
from vitdecomp.images.image_list import BROKEN, CLOSED, HIDDEN, LINKS, LOOP, OTHER, SPECIAL, UNREAD, list_images


def image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


@pytest.fixture
def animals(tmp_path):
    """Two folders, one of them a link."""
    image(tmp_path / "animals" / "cat" / "0.png")
    image(tmp_path / "elsewhere" / "puppies" / "1.png")
    (tmp_path / "animals" / "dog").symlink_to(tmp_path / "elsewhere" / "puppies")
    return tmp_path / "animals"


def names(found):
    return [path.relative_to(found.root).as_posix() for path in found.files]


def test_linked_folders_are_followed(animals):
    found = list_images(animals)
    assert names(found) == ["cat/0.png", "dog/1.png"]
    assert found.ignored == {}
    assert [one.label for one in datasets.open_pictures(animals).pictures] == ["cat", "dog"]


def test_links_that_lead_back_are_not(animals):
    (animals / "cat" / "all").symlink_to(animals)
    (animals / "dog" / "self").symlink_to(".")
    (animals / "round").symlink_to(animals / "round")
    found = list_images(animals)
    assert names(found) == ["cat/0.png", "dog/1.png"]
    assert found.ignored == {LOOP: ("cat/all", "dog/self"), BROKEN: ("round",)}


def test_links_to_one_another_end_and_do_not_multiply(tmp_path):
    for i in range(40):
        image(tmp_path / "all" / f"{i:02}" / "x.png")
        for name in ("a", "b"):
            (tmp_path / "all" / f"{i:02}" / name).symlink_to(tmp_path / "all" / f"{i + 1:02}")
    found = list_images(tmp_path / "all")
    assert len(found.files) < 40 * 2 ** (LINKS + 1)
    assert found.ignored[LOOP]


@pytest.mark.parametrize(
    "name", [".ipynb_checkpoints", ".git", "@eaDir", "@__thumb", "__MACOSX", "$RECYCLE.BIN", "RECYCLER", "lost+found"]
)
def test_folders_of_systems_are_left_out(animals, name, caplog):
    image(animals / name / "cat" / "0.png")
    image(animals / "cat" / name / "0.png")
    with caplog.at_level(logging.WARNING, logger="vitdecomp"):
        found = list_images(animals)
    assert names(found) == ["cat/0.png", "dog/1.png"]
    assert found.ignored == {HIDDEN: (name, f"cat/{name}") if name < "cat" else (f"cat/{name}", name)}
    assert f"left out of {animals}: 2 hidden or the system's own (" in caplog.text


def test_files_of_systems_are_left_out(animals):
    for name in ("._0.png", ".hidden.jpg", "Thumbs.db", ".DS_Store"):
        image(animals / "cat" / name)
    assert names(list_images(animals)) == ["cat/0.png", "dog/1.png"]
    assert len(list_images(animals).ignored[HIDDEN]) == 4


def test_a_hidden_folder_that_is_asked_for_is_read(tmp_path):
    image(tmp_path / ".cache" / "0.png")
    assert names(list_images(tmp_path / ".cache")) == ["0.png"]


def test_mixed_folders_are_read_whole(tmp_path):
    endings = (".jfif", ".pgm", ".avif", ".PBM", ".pnm", ".JPE", ".jp2", ".Tiff", ".webp", ".JPG", ".qoi")
    for ending in endings:
        image(tmp_path / f"x{ending}")
    for name in ("x.psd", "x.svg", "notes.txt", "labels.csv"):
        image(tmp_path / name)
    found = list_images(tmp_path)
    assert {path.suffix for path in found.files} == {*endings}
    assert found.ignored == {UNREAD: ("x.psd", "x.svg"), OTHER: ("labels.csv", "notes.txt")}
    assert found.note == "2 images of a kind that is not read (x.psd, x.svg)"


def test_what_only_looks_like_an_image_is_left_out_and_named(animals):
    os.mkfifo(animals / "cat" / "pipe.png")
    (animals / "cat" / "gone.png").symlink_to("nowhere.png")
    (animals / "folder.png").mkdir()
    found = list_images(animals)
    assert names(found) == ["cat/0.png", "dog/1.png"]
    assert found.ignored == {SPECIAL: ("cat/pipe.png",), BROKEN: ("cat/gone.png",)}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_is_closed_is_named(animals):
    (animals / "cat").chmod(0)
    try:
        assert list_images(animals).ignored == {CLOSED: ("cat",)}
    finally:
        (animals / "cat").chmod(0o755)


def test_a_folder_without_images_says_what_it_has(tmp_path):
    image(tmp_path / ".git" / "0.png")
    image(tmp_path / "x.psd")
    with pytest.raises(vd.InputError, match=r"no images in .*\.avif.*left out: .*\.git.*x\.psd"):
        list_images(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(vd.InputError, match="neither a regular file nor a folder"):
        list_images(tmp_path / "pipe")


def test_a_very_deep_folder_is_walked(tmp_path):
    place = tmp_path
    for _ in range(300):
        place = place / "a"
    image(place / "0.png")
    assert len(list_images(tmp_path).files) == 1


def test_what_pillow_writes_by_its_ending_is_found_and_read(tmp_path):
    for ending in (".bmp", ".gif", ".jfif", ".jpg", ".png", ".pgm", ".tif", ".webp", ".avif", ".jp2", ".tga", ".pcx"):
        assert ending in suffixes()
        Image.new("L" if ending == ".pgm" else "RGB", (8, 8), 200).save(tmp_path / f"x{ending}")
    for path in list_images(tmp_path).files:
        assert images.open_image(path).size == (8, 8)
