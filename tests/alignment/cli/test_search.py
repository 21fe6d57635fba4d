"""`vitdecomp search` as its users run it."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from commands import in_process, launched, succeeded
from PIL import Image
from vitdecomp_alignment import ClosedForm
from vitdecomp_alignment.cli.search.searchable import warn_of_differences
from vitdecomp_alignment.clip.space import ClipSpace

import vitdecomp as vd
from vitdecomp.extract import ExtractConfig, extract
from vitdecomp.models.prepare import ModelOptions, prepare
from vitdecomp.models.preprocessing import PlainPreprocess
from vitdecomp.provenance import Origin
from vitdecomp.scenes import SceneDataset
from vitdecomp.store.store import Store

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


def run(place, *words, by=in_process, code=0):
    return succeeded(by(place, "search", *words, "--cache", "cache", columns=300), code)  # no path is broken into lines


IN_SCENES = ("scenes:clip", "--images", "scenes", "--features", "scenes")


def test_a_text_finds_what_it_says_and_writes_a_page(place):
    words = (*IN_SCENES, "--text", "something in a forest", "--feature", "location", "--k", "5")
    told = json.loads(run(place, *words, "--out", "sheet.html", "--json", by=launched).stdout)
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
    assert page.count("data:image/jpeg;base64,") == 10  # in the feature, and in the whole embedding
    assert "something in a forest" in page
    assert "http:" not in page
    assert "https:" not in page


def test_a_picture_finds_others_and_writes_a_picture(place):
    words = (*IN_SCENES, "--image", "scenes/007.png", "--without", "colour", "--k", "3", "--out", "sheet.png")
    lines = run(place, *words).stdout.splitlines()
    assert lines[0].startswith("80 images by ")
    assert lines[0].endswith("like scenes/007.png; without colour")
    assert sum(line.rstrip().endswith(".png") for line in lines[1:]) == 3
    assert not any("1.000" in line for line in lines)
    assert lines[-1].startswith("left out, since they are what is looked for: row 7 (007.png)")
    with Image.open(place / "sheet.png") as sheet:
        assert sheet.size[0] > 800


def test_a_choice_of_components(place):
    words = ("--image", "scenes/007.png", "--image", "scenes/008.png", "--combine", "best", "--k", "2")
    own = ("--components", "*.blocks.[45].attn.*", "--keep-reference", "--json")
    told = json.loads(run(place, *IN_SCENES, *words, *own).stdout)
    assert {name.split(".")[3] for name in told["components"]} == {"4", "5"}
    assert len(told["components"]) == 16
    assert {Path(hit["path"]).name for hit in told["hits"]} == {"007.png", "008.png"}


@pytest.fixture(scope="module")
def store(place):
    """The same pictures taken apart before, in a store of its own."""
    job = ExtractConfig(place / "scenes", precision="float32")
    return extract(ModelOptions("scenes:clip", device="cpu"), job, str(place / "s.lance")).store


def test_a_store_is_searched_in_place_of_images(place, store):
    words = ("--text", "something in a forest", "--feature", "location", "--k", "5", "--json")
    hits = [
        json.loads(run(place, "scenes:clip", *source, "--features", "scenes", *words).stdout)["hits"]
        for source in (("--images", "scenes"), ("--store", "s.lance"))
    ]
    assert [hit["path"] for hit in hits[0]] == [hit["path"] for hit in hits[1]]
    assert [hit["score"] for hit in hits[0]] == pytest.approx([hit["score"] for hit in hits[1]], abs=1e-4)


@pytest.fixture(scope="module")
def deit(place):
    """A store of a model without texts, in which a picture is twice."""
    (place / "twice").mkdir()
    for i in range(12):
        image = (place / "scenes" / f"{i:03}.png").read_bytes()
        (place / "twice" / f"{i:03}.png").write_bytes(image)
    (place / "twice" / "copy of 7.png").write_bytes((place / "scenes" / "007.png").read_bytes())
    extract(
        ModelOptions("scenes:deit", device="cpu"),
        ExtractConfig(place / "twice", precision="float32"),
        str(place / "deit"),
    )
    return place / "deit"


LIKE_7 = ("search", "--store", "deit", "--image", "scenes/007.png", "--cache", "cache")


def test_images_of_a_store_need_neither_a_model_nor_a_clip(place, deit):
    done = in_process(place, *LIKE_7, "--k", "4", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["model"], told["clip"]) == (None, None)
    assert {hit["id"] for hit in told["left_out"]} == {"007.png", "copy of 7.png"}
    assert len(told["hits"]) == 4
    assert not {"007.png", "copy of 7.png"} & {hit["id"] for hit in told["hits"]}
    kept = json.loads(in_process(place, *LIKE_7, "--k", "4", "--json", "--keep-reference").stdout)
    assert {hit["id"] for hit in kept["hits"][:2]} == {"007.png", "copy of 7.png"}
    assert kept["hits"][2:] == told["hits"][:2]
    assert kept["hits"][0]["score"] == pytest.approx(1, abs=1e-6)


@pytest.fixture
def maps(place, deit):
    """Maps of the store's model to a CLIP."""
    images = [place / "scenes" / f"{i:03}.png" for i in (*range(12), 7)]
    space, store = ClipSpace("scenes:clip", device="cpu"), Store(deit)
    aligner = ClosedForm().fit(store.take(range(13)), space.encode_image(images))
    aligner.target_ = Origin.of(space.loaded.module, space.spec)
    return aligner


IN_DEIT = ("search", "scenes:deit", "--store", "deit", "--maps", "m.safetensors", "--text", "sea", "--device", "cpu")


def test_a_text_in_a_store_needs_no_model_that_its_maps_know(place, maps, monkeypatch):
    def refuse(options):
        raise AssertionError(f"{options.model} is loaded")

    maps.save(place / "m.safetensors")
    words = (*IN_DEIT, "--cache", "cache", "--k", "5", "--json")
    whole = json.loads(in_process(place, *words, "--dtype", "float32").stdout)
    monkeypatch.setattr("vitdecomp_alignment.clip.contributions.prepare", refuse)
    monkeypatch.setattr("vitdecomp_alignment.clip.space.prepare", refuse)
    alone = json.loads(in_process(place, *words).stdout)
    assert [hit["row"] for hit in alone["hits"]] == [hit["row"] for hit in whole["hits"]]
    for one, other in zip(alone["hits"], whole["hits"], strict=True):
        assert one["score"] == pytest.approx(other["score"], abs=1e-5)


def test_maps_of_other_weights_are_refused(place, maps):
    right, words = maps.origin_, (*IN_DEIT, "--cache", "cache", "--k", "5")
    for claim in (Origin("scenes:deit", "abc"), Origin("scenes:dino", right.weights), right):
        maps.origin_ = claim
        maps.save(place / "m.safetensors")
        done = in_process(place, *words)
        assert (done.returncode, "the maps are for scenes:deit" in done.stderr) == (
            (2, True) if claim.weights == "abc" else (0, False)
        )
    maps.target_ = Origin("scenes:clip", "abc")
    maps.save(place / "m.safetensors")
    done = in_process(place, *words)
    assert done.returncode == 2
    assert "the maps lead to scenes:clip (embedding), not scenes:clip (embedding) with other weights" in done.stderr


def test_another_image_needs_the_model_and_gets_the_same_as_by_its_row(place, deit):
    Image.open(place / "scenes" / "007.png").save(place / "again.bmp")  # the same pixels in another file
    other = tuple("again.bmp" if word == "scenes/007.png" else word for word in LIKE_7)
    alone = in_process(place, *other)
    assert alone.returncode == 2
    assert "again.bmp is not among the images of deit: give MODEL" in alone.stderr
    found = json.loads(in_process(place, "search", "scenes:deit", *other[1:], "--k", "6", "--json").stdout)
    assert found["left_out"] == []
    wanted = json.loads(in_process(place, *LIKE_7, "--k", "6", "--json", "--keep-reference").stdout)
    assert [hit["row"] for hit in found["hits"]] == [hit["row"] for hit in wanted["hits"]]
    for one, other in zip(found["hits"], wanted["hits"], strict=True):
        assert one["score"] == pytest.approx(other["score"], abs=1e-4)


def test_a_reference_that_is_read_otherwise_is_told(deit, caplog):
    prepared, store = prepare(ModelOptions("scenes:deit", device="cpu")), Store(deit)
    warn_of_differences(store, prepared)
    assert not caplog.text
    warn_of_differences(store, replace(prepared, preprocess=PlainPreprocess((3, 64, 64))))
    assert "references are by PlainPreprocess(size=(3, 64, 64))" in caplog.text
    store.metadata = replace(store.metadata, decoding="")
    warn_of_differences(store, prepared)
    assert "were decoded by another version of vitdecomp" in caplog.text


def test_images_that_were_decoded_otherwise_are_not_added(deit):
    metadata = Store(deit).metadata
    metadata.check(metadata, "deit")
    with pytest.raises(vd.OutputError, match="the images in deit were decoded by other rules"):
        metadata.check(replace(metadata, decoding=""), "deit")


def test_a_sheet_of_a_store_shows_what_lies_in_the_folders_that_are_named(place, deit):
    words = (*LIKE_7, "--k", "3", "--components", "blocks.5.*", "--out", "sheet.html")
    done = in_process(place, *words)
    assert "note: the sheet has no images: --image-root DIR" in done.stderr
    page = (place / "sheet.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 1  # the reference, which the user has typed
    assert page.count("no picture: no folder is named") == 6
    assert "The same search in the whole embedding" in page
    done = in_process(place, *words, "--image-root", "twice")
    assert done.stderr.count("note:") == 0
    page = (place / "sheet.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 7
    assert page.count(f'href="{(place / "twice").as_uri()}/') == 6
    in_process(place, *words, "--image-root", "scenes")  # the same files by their ids
    assert (place / "sheet.html").read_text().count("data:image/jpeg;base64,") == 7


REFUSED_FIRST = {
    "too many": (("--k", "14"), "k = 14, but there are 13 images"),
    "a text": (("--text", "sea"), "give MODEL"),
    "a feature": (("--feature", "location"), "give MODEL"),
    "no folder": (("--pictures", "nowhere"), "there is no folder nowhere: --image-root"),
    "a pipe": (("--image", "pipe.png"), "cannot read image pipe.png: it is not a regular file"),
}


@pytest.mark.parametrize("case", REFUSED_FIRST)
def test_what_cannot_be_searched_for_is_refused_first(place, deit, in_process, case):
    if not (place / "pipe.png").exists():
        os.mkfifo(place / "pipe.png")
    words, message = REFUSED_FIRST[case]
    done = in_process(place, *LIKE_7, *words)
    assert done.returncode == 2
    assert message in done.stderr.strip().splitlines()[-1]


def test_a_store_must_be_the_models(place, store, deit):
    cases = {
        ("scenes:clip", "--store", "s.lance", "--images", "scenes"): "give --images or --store, not both",
        ("scenes:clip", "--store", "nowhere.lance"): "there are no contributions in nowhere.lance",
        ("scenes:clip", "--store", "s.lance", "--random-weights"): "s.lance holds contributions of scenes:clip",
        ("scenes:clip", "--store", "deit"): "deit holds contributions of scenes:deit (embedding), not scenes:clip",
        ("scenes:deit", "--store", "deit"): "scenes:deit has no texts of its own: give --maps",
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
