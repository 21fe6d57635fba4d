"""`vitdecomp search` as its users run it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from vitdecomp.extract import Extraction, extract
from vitdecomp.prepare import Request
from vitdecomp.scenes import SceneDataset

pytestmark = pytest.mark.xdist_group("alignment-cli")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Pictures in one folder, their truth, and a cache that all of these commands share."""
    place = tmp_path_factory.mktemp("search")
    data = SceneDataset(80, 3, "test")
    (place / "scenes").mkdir()
    for i in range(len(data)):
        Image.fromarray(data.sample(i).image).save(place / "scenes" / f"{i:03}.png")
    return place


def run(place, *words, code=0):
    command = [str(Path(sys.executable).with_name("vitdecomp")), "search", *words, "--cache", "cache"]
    wide = {**os.environ, "COLUMNS": "300"}  # no path is broken into lines
    done = subprocess.run(command, cwd=place, env=wide, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


IN_SCENES = ("scenes:clip", "--images", "scenes", "--features", "scenes")


def test_a_text_finds_what_it_says_and_writes_a_page(place):
    words = (*IN_SCENES, "--text", "something in a forest", "--feature", "location", "--k", "5")
    told = json.loads(run(place, *words, "--out", "sheet.html", "--json").stdout)
    assert (told["model"], told["images"], told["feature"], len(told["components"])) == (
        "scenes:clip",
        80,
        "location",
        70,
    )
    truth = SceneDataset(80, 3, "test")
    found = [truth.scene(int(Path(hit["path"]).stem)).values["location"] for hit in told["hits"]]
    assert found.count("forest") >= 4
    page = (place / "sheet.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 5
    assert "something in a forest" in page
    assert "http" not in page


def test_a_picture_finds_itself_and_writes_a_picture(place):
    words = (*IN_SCENES, "--image", "scenes/007.png", "--without", "colour", "--k", "3", "--out", "sheet.png")
    lines = run(place, *words).stdout.splitlines()
    assert lines[0].startswith("80 images by ")
    assert lines[0].endswith("like scenes/007.png; without colour")
    assert next(line for line in lines if "1.000" in line).rstrip(" │").endswith("007.png")
    with Image.open(place / "sheet.png") as sheet:
        assert sheet.size[0] > 800


def test_a_choice_of_components(place):
    words = ("--image", "scenes/007.png", "--image", "scenes/008.png", "--combine", "best", "--k", "2")
    told = json.loads(run(place, *IN_SCENES, *words, "--components", "*.blocks.[45].attn.*", "--json").stdout)
    assert {name.split(".")[3] for name in told["components"]} == {"4", "5"}
    assert len(told["components"]) == 16
    assert {Path(hit["path"]).name for hit in told["hits"]} == {"007.png", "008.png"}


@pytest.fixture(scope="module")
def store(place):
    """The same pictures taken apart before, in a store of its own."""
    job = Extraction(place / "scenes", precision="float32")
    return extract(Request("scenes:clip", device="cpu"), job, str(place / "s.lance")).store


def test_a_store_is_searched_in_place_of_images(place, store):
    words = ("--text", "something in a forest", "--feature", "location", "--k", "5", "--json")
    hits = [
        json.loads(run(place, "scenes:clip", *source, "--features", "scenes", *words).stdout)["hits"]
        for source in (("--images", "scenes"), ("--store", "s.lance"))
    ]
    assert [hit["path"] for hit in hits[0]] == [hit["path"] for hit in hits[1]]
    assert [hit["score"] for hit in hits[0]] == pytest.approx([hit["score"] for hit in hits[1]], abs=1e-4)


def test_a_store_must_be_the_models(place, store, in_process):
    cases = {
        ("scenes:clip", "--store", "s.lance", "--images", "scenes"): "give --images or --store, not both",
        ("scenes:clip", "--store", "nowhere.lance"): "there are no contributions in nowhere.lance",
        ("scenes:clip", "--store", "s.lance", "--random-weights"): "s.lance holds contributions of scenes:clip",
    }
    for words, message in cases.items():
        done = in_process(place, "search", *words, "--text", "sea", "--cache", "cache")
        assert done.returncode == 2
        assert message in done.stderr.strip().splitlines()[-1]


REFUSED = {
    "feature": (("--text", "sea", "--feature", "locaton"), "no feature 'locaton'; did you mean location?"),
    "sheet": (("--text", "sea", "--out", "sheet.pdf"), "as .html or .png, not as sheet.pdf"),
    "image": (("--image", "none.png"), "cannot read image none.png"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_one_line(place, in_process, case):
    words, message = REFUSED[case]
    done = in_process(place, "search", *IN_SCENES, *words, "--cache", "cache")
    assert done.returncode == 2
    assert done.stdout == ""
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last


def test_a_model_without_texts_needs_maps(place):
    done = run(place, "scenes:deit", "--images", "scenes", "--text", "sea", code=2)
    assert "has no texts of its own: give --maps" in done.stderr
