"""`vitdecomp explain` as its users run it."""

import json
import re

import pytest
import torch
from commands import in_process, launched, succeeded
from PIL import Image
from vitdecomp_alignment import ClosedForm
from vitdecomp_alignment.clip.space import ClipSpace

import vitdecomp as vd
from vitdecomp.heatmaps import load_each
from vitdecomp.provenance import Origin
from vitdecomp.scenes import SceneDataset

pytestmark = pytest.mark.xdist_group("alignment-cli")
IN_PHOTOS = ("--images", "photos", "--limit", "3")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Images in a folder, one of them broken, and a cache that all of these commands share."""
    place = tmp_path_factory.mktemp("explain")
    data = SceneDataset(4, 3, "test")
    (place / "photos").mkdir()
    for i in range(4):
        Image.fromarray(data.sample(i).image).save(place / "photos" / f"{i}.png")
    (place / "photos" / "1.png").write_bytes(b"torn")
    return place


@pytest.fixture(scope="module")
def maps(place):
    """Maps of the heads of scenes:deit into the space of scenes:clip, and of its whole representation."""
    clip = ClipSpace("scenes:clip")
    subject, data = vd.load_model("scenes:deit"), SceneDataset(60, 5, "train")
    images = [Image.fromarray(data.sample(i).image) for i in range(60)]
    pixels = torch.stack([subject.preprocess(image) for image in images])
    decomposer, found = vd.Decomposer(subject).fit(pixels[:1]), {}
    for by in ("head", "representation"):
        aligner = ClosedForm().fit(decomposer.transform(pixels, by), clip.encode_image(images))
        aligner.target_ = Origin.of(clip.reader.module, clip.spec)
        found[by] = place / f"{by}.safetensors"
        aligner.save(found[by])
    return found


def run(place, *words, by=in_process, code=0):
    return succeeded(by(place, "explain", *words, "--cache", "cache", columns=300), code)


def test_a_text_on_a_page_of_its_own(place):
    words = ("scenes:clip", *IN_PHOTOS, "--text", "a red <circle>", "--method", "decompose", "--method", "legrad")
    told = json.loads(run(place, *words, "--out", "maps.html", "--json", by=launched).stdout)
    assert told["images"] == ["0.png", "2.png"]
    assert [name.rpartition("/")[2] for name in told["skipped"]] == ["1.png"]
    found = told["maps"]["decompose"]
    assert found["directions"] == ["a red <circle>"]
    assert all(abs(r) < 1e-4 for (r,) in found["residual"])
    assert told["maps"]["legrad"]["residual"] == [[None], [None]]
    assert all(0 < gap < 1 for (gap,) in found["gate_gap"])
    page = (place / "maps.html").read_text()
    assert page.count("<img ") == 2 * 3
    assert "a red &lt;circle&gt;" in page
    assert not re.search(r'(src|href)="(?!data:)', page)  # it needs nothing else


def test_all_methods_into_a_folder(place):
    words = ("scenes:swin", *IN_PHOTOS, "--class", "0", "--class", "1", "--method", "all", "--out", "maps/")
    told = json.loads(run(place, *words, "--json").stdout)
    assert set(told["refused"]) == {"chefer", "rollout"}
    maps = load_each(place / "maps" / "maps.safetensors")
    assert set(maps) == set(vd.explainers()) - {"chefer", "rollout"}
    assert len(list((place / "maps").glob("*.png"))) == 2 * 2 * len(maps)
    with Image.open(next((place / "maps").glob("*.png"))) as picture:
        assert picture.size == (64, 64)
    audit = maps["frozen"].audit
    total = maps["frozen"].grid.sum((-2, -1)) + audit.constants + audit.placeless
    torch.testing.assert_close(total, audit.score, rtol=1e-3, atol=1e-4)


def test_the_predicted_class_is_explained_by_default(place):
    told = run(place, "scenes:deit", *IN_PHOTOS).stdout
    assert "predicted class" in told
    assert "score = map + constants + no place" in told


def test_texts_through_maps_of_each_head(place, maps):
    words = ("scenes:deit", *IN_PHOTOS, "--text", "something red", "--maps", str(maps["head"]))
    told = json.loads(run(place, *words, "--method", "decompose", "--json").stdout)
    found = told["maps"]["decompose"]
    assert all(abs(r) < 1e-3 for (r,) in found["residual"])
    refused = run(place, *words, "--method", "legrad", code=2)
    assert "these maps have a direction for each component" in refused.stderr
    assert refused.stderr.splitlines()[-1].startswith("error: ")


def test_values_of_each_head_with_a_direction_of_its_own(place, maps):
    words = ("scenes:deit", *IN_PHOTOS, "--text", "something red", "--maps", str(maps["head"]))
    told = json.loads(run(place, *words, "--method", "value", "--out", "values/", "--json").stdout)
    assert all(".attn.head." in name for name in told["maps"]["value"]["components"]["names"])
    assert float(load_each(place / "values" / "maps.safetensors")["value"].grid.abs().max()) > 0


def test_maps_with_the_same_words_have_files_of_their_own(place):
    words = ("scenes:clip", *IN_PHOTOS, "--batch-size", "1", "--text", "red?", "--text", "red!", "--out", "alike/")
    told = json.loads(run(place, *words, "--json").stdout)
    pictures = {name for name in told["written"] if name.endswith(".png")}
    assert len(pictures) == 2 * 2
    assert len(load_each(place / "alike" / "maps.safetensors")["decompose"].grid) == 2


def test_maps_by_head_say_what_aligned_contributions_say(place, maps):
    clip, subject = ClipSpace("scenes:clip"), vd.load_model("scenes:deit")
    with Image.open(place / "photos" / "0.png") as image:
        pixels = subject.preprocess(image.convert("RGB"))[None]
    decomposer, aligner = vd.Decomposer(subject).fit(pixels), ClosedForm.load(maps["head"])
    found = vd.explain(decomposer, pixels, ["something red"], aligner=aligner, encode_text=clip)
    q = torch.nn.functional.normalize(clip.encode_text(["something red"]).double(), dim=1)
    expected = aligner.transform(decomposer.transform(pixels)).total().double() @ q.T
    torch.testing.assert_close(found.audit.score.double(), expected, rtol=1e-3, atol=1e-4)
    total = found.grid.sum((-2, -1)) + found.audit.constants + found.audit.placeless
    torch.testing.assert_close(total, found.audit.score, rtol=1e-3, atol=1e-4)


def test_all_methods_through_maps_of_the_representation(place, maps):
    words = ("scenes:deit", *IN_PHOTOS, "--text", "something red", "--maps", str(maps["representation"]))
    told = json.loads(run(place, *words, "--method", "legrad", "--method", "frozen", "--json").stdout)
    assert all(abs(r) < 1e-3 for (r,) in told["maps"]["frozen"]["residual"])


def test_components_of_a_feature(place):
    words = ("scenes:clip", *IN_PHOTOS, "--text", "red", "--features", "scenes", "--feature", "colour", "--top", "3")
    told = json.loads(run(place, *words, "--json").stdout)
    assert len(told["components"]) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("scenes:clip", "--text", "x", "--method", "legard"), "no explainer 'legard'; did you mean legrad?"),
        (("scenes:clip", "--text", "x", "--set", "presets=code", "--method", "legrad"), "did you mean preset?"),
        (("scenes:clip", "--text", "x", "--out", "a.txt"), "maps are written as FILE.html or into a folder DIR/"),
        (("scenes:clip",), "nothing to explain: give --text or --class"),
        (("scenes:deit", "--text", "x"), "scenes:deit reads no texts: give --maps"),
        (("scenes:deit", "--class", "9999"), "scenes:deit has no class 9999: its classes are 0 to"),
        (("scenes:deit", "--class", "cirle"), "has no class 'cirle'"),
        (("scenes:clip", "--text", "x", "--components", "block.7.*"), "no component matches 'block.7.*'"),
        (("scenes:clip", "--text", "x", "--feature", "hue"), "no feature 'hue'"),
        (("scenes:clip", "--text", "x", "--shifts", "3"), "shifts must be 1, 4, 9 or another square, not 3"),
        (("scenes:clip", "--text", "x", "--images", "nowhere"), "there is no file or folder nowhere"),
    ],
)
def test_what_is_refused_in_one_line(place, words, message):
    more = () if "--images" in words else IN_PHOTOS
    done = run(place, *words, *more, "--quiet", code=2)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last
    assert done.stdout == ""


def test_an_unreadable_image_at_the_end_is_listed_too(place):
    words = ("scenes:clip", "--images", "photos", "--limit", "2", "--batch-size", "1", "--text", "x", "--json")
    told = json.loads(run(place, *words).stdout)
    assert (told["images"], [name.rpartition("/")[2] for name in told["skipped"]]) == (["0.png"], ["1.png"])


def test_a_class_that_is_not_there_is_refused_by_all_methods(place):
    done = run(place, "scenes:deit", *IN_PHOTOS, "--class", "cirle", "--method", "all", "--quiet", code=2)
    assert "has no class 'cirle'" in done.stderr.splitlines()[-1]
