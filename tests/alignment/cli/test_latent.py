"""`vitdecomp latent` as its users run it."""

import json

import pytest
import torch
from commands import in_process, launched, succeeded
from PIL import Image
from vitdecomp_alignment import ClosedForm
from vitdecomp_alignment.clip.space import ClipSpace
from vitdecomp_alignment.texts import scene_texts

import vitdecomp as vd
from vitdecomp.latent import LatentTokens
from vitdecomp.provenance import Origin
from vitdecomp.scenes import SceneDataset

pytestmark = pytest.mark.xdist_group("alignment-cli")
IN_PHOTOS = ("--images", "photos", "--limit", "3")
CONVOLUTIONS = """
from torch import nn


def net():
    return nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.GELU(), nn.Conv2d(8, 8, 2, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
"""
MADE = {"cache", "__pycache__"}
POOL = ("a red circle", "a <blue> square", "snow", "a forest")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Images in a folder, one of them broken, texts, and a cache that all of these commands share."""
    place = tmp_path_factory.mktemp("latent")
    data = SceneDataset(4, 3, "test")
    (place / "photos").mkdir()
    for i in range(4):
        Image.fromarray(data.sample(i).image).save(place / "photos" / f"{i}.png")
    (place / "photos" / "1.png").write_bytes(b"torn")
    (place / "texts.txt").write_text("\n".join(POOL))
    (place / "convolutions.py").write_text(CONVOLUTIONS)
    (place / "latin1.txt").write_bytes("ein Fuß".encode("latin-1"))
    return place


@pytest.fixture(scope="module")
def maps(place):
    """Maps of scenes:deit into the space of scenes:clip: of its whole representation, and of its blocks."""
    clip, subject, data = ClipSpace("scenes:clip"), vd.load_model("scenes:deit"), SceneDataset(40, 5, "train")
    images = [Image.fromarray(data.sample(i).image) for i in range(40)]
    pixels = torch.stack([subject.preprocess(image) for image in images])
    decomposer, found = vd.Decomposer(subject).fit(pixels[:1]), {}
    for by in ("representation", "block"):
        aligner = ClosedForm().fit(decomposer.transform(pixels, by), clip.encode_image(images))
        aligner.target_ = Origin.of(clip.reader.module, clip.spec)
        found[by] = place / f"{by}.safetensors"
        aligner.save(found[by])
    return found


def run(place, *words, by=in_process, code=0):
    return succeeded(by(place, "latent", *words, "--cache", "cache", columns=300), code)


def pixels_of(place, model, *names):
    return torch.stack([model.preprocess(Image.open(place / "photos" / name).convert("RGB")) for name in names])


def test_every_token_of_every_layer_on_a_page(place):
    words = ("scenes:clip", *IN_PHOTOS, "--texts", "texts.txt", "--m", "4", "--out", "page.html", "--json")
    told = json.loads(run(place, *words, by=launched).stdout)
    assert [image["name"] for image in told["images"]] == ["0.png", "2.png"]
    assert [name.rpartition("/")[2] for name in told["skipped"]] == ["1.png"]
    assert (told["clip"], told["texts"], told["written"]) == ("scenes:clip", len(POOL), "page.html")
    assert told["layers"] == list(range(7))
    assert told["tokens"][0] == {"token": 0, "kind": "class", "row": None, "column": None, "grid": None}
    assert told["tokens"][10] == {"token": 10, "kind": "patch", "row": 1, "column": 1, "grid": [8, 8]}
    model = vd.load_model("scenes:clip")
    latent = LatentTokens(model).fit(pixels_of(place, model, "0.png"))
    found = latent.describe(pixels_of(place, model, "0.png", "2.png"), POOL, ClipSpace(model), k=4)
    for row, image in enumerate(told["images"]):
        assert [text for layer in image["words"] for token in layer for text, _ in token] == [
            found.texts[i] for i in found.indices[row].flatten()
        ]
        cosines = torch.tensor([[[s for _, s in token] for token in layer] for layer in image["words"]])
        torch.testing.assert_close(cosines, found.similarities[row])
    page = (place / "page.html").read_text(encoding="utf-8")
    assert page.count("<img ") == 2
    assert page.count('class="cell"') == 2 * 64
    assert "a &lt;blue&gt; square" in page


def test_chosen_layers_and_tokens_for_people(place):
    shown = run(place, "scenes:clip", *IN_PHOTOS, "--layers", "0,-1", "--tokens", "0,5,6", "--batch-size", "1").stdout
    title, heading, *rows = shown.splitlines()
    assert title.startswith(f"Tokens of scenes:clip in words of scenes:clip: {len(scene_texts()):,} texts")
    assert heading.split() == ["image", "layer", "class", "token", "patches"]
    assert [row.split()[:2] for row in rows[:4]] == [["0.png", "0"], ["0.png", "6"], ["2.png", "0"], ["2.png", "6"]]
    assert "(1)" in rows[0] or "(2)" in rows[0]


def test_patches_that_texts_name_are_removed(place):
    words = ("scenes:clip", *IN_PHOTOS, "--texts", "texts.txt", "--layers", "1", "--edit", "remove", "--text", "snow")
    told = json.loads(run(place, *words, "--at", "1,2", "--m", "4", "--out", "edited.html", "--json").stdout)
    assert (told["edit"]["action"], told["edit"]["texts"], told["edit"]["layers"]) == ("remove", ["snow"], [1, 2])
    model = vd.load_model("scenes:clip")
    images = pixels_of(place, model, "0.png", "2.png")
    removed = torch.zeros(2, 65, dtype=torch.bool)
    for row, image in enumerate(told["images"]):
        nearest = [token[0][0] for token in image["words"][0]]
        removed[row, 1:] = torch.tensor([text == "snow" for text in nearest[1:]])
        assert told["edit"]["images"][row]["tokens"] == removed[row].nonzero()[:, 0].tolist()
    assert removed.any(1).tolist() != [False, False]
    decomposer = vd.Decomposer(model).fit(images[:1])
    after = vd.edit_tokens(decomposer, remove=removed, layers=[1, 2])(images)
    texts = ClipSpace(model).encode_text(POOL)
    for row, outcome in enumerate(told["edit"]["images"]):
        for said, z in ((outcome["before"], decomposer.represent(images)), (outcome["after"], after)):
            expected = torch.cosine_similarity(z[row][None], texts, dim=-1)
            found = torch.tensor([dict(map(tuple, said))[text] for text in POOL])
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
            assert said == sorted(said, key=lambda pair: -pair[1])
    page = (place / "edited.html").read_text(encoding="utf-8")
    assert page.count('class="cell edited"') == int(removed.sum())
    assert (
        f"{int(removed[0].sum())} edited. The whole image before: {told['edit']['images'][0]['before'][0][0]}" in page
    )
    shown = run(place, *words, "--quiet").stdout
    assert "Patches whose best text in layer 0 is “snow” are set to zero in front of block 0." in shown


def test_patches_are_read_in_another_layer_than_they_are_removed(place):
    words = ("scenes:clip", *IN_PHOTOS, "--texts", "texts.txt", "--layers", "-1,6,2", "--edit", "remove")
    told = json.loads(run(place, *words, "--text", "snow", "--at", "0,1", "--read", "2", "--json").stdout)
    assert told["layers"] == [6, 2]  # the last one is named twice
    assert (told["edit"]["read"], told["edit"]["layers"]) == (2, [0, 1])
    for image, edited in zip(told["images"], told["edit"]["images"], strict=True):
        named = [i for i, token in enumerate(image["words"][1]) if i and token[0][0] == "snow"]
        assert edited["tokens"] == named
    shown = run(place, *words, "--text", "snow", "--read", "2", "--quiet").stdout
    assert "Patches whose best text in layer 2 is “snow” are set to zero in front of block 0." in shown


def test_texts_through_maps_of_the_whole_representation(place, maps):
    words = ("scenes:deit", *IN_PHOTOS, "--maps", str(maps["representation"]), "--layers", "6", "--texts", "texts.txt")
    told = json.loads(run(place, *words, "--m", "4", "--json").stdout)
    model, clip = vd.load_model("scenes:deit"), ClipSpace("scenes:clip")
    z = LatentTokens(model).fit(pixels_of(place, model, "0.png")).transform(pixels_of(place, model, "0.png"))[0, -1]
    aligner = ClosedForm.load(maps["representation"])
    expected = torch.cosine_similarity((z @ aligner.weights_[0])[:, None], clip.encode_text(POOL)[None], dim=-1)
    for token, said in enumerate(told["images"][0]["words"][0]):
        found = torch.tensor([dict(map(tuple, said))[text] for text in POOL])
        torch.testing.assert_close(found, expected[token], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("scenes:clip", "--layers", "7,9"), "no layer 7: layers of this model are 0 to 6"),
        (("scenes:clip", "--layers", "first"), "--layers takes numbers with commas between them, such as 0,4,8"),
        (("scenes:clip", "--tokens", "65"), "no token 65: tokens of this model are 0 to 64"),
        (("scenes:clip", "--texts", "nowhere.txt"), "there are no texts 'nowhere.txt': give one of general, scene"),
        (("scenes:clip", "--texts", "latin1.txt"), "latin1.txt is not UTF-8 text"),
        (("scenes:clip", "--out", "page.txt"), "latent tokens are written as FILE.html, not as page.txt"),
        (("scenes:deit",), "scenes:deit reads no texts: give --maps, which `vitdecomp align --by representation`"),
        (("python:convolutions:net", "--image-size", "16"), "no attention of this model has keys with places in"),
        (("scenes:clip", "--images", "nowhere"), "there is no file or folder nowhere"),
        (("scenes:clip", "--edit", "remove"), "--edit remove needs --text"),
        (("scenes:clip", "--text", "snow"), "--text says which tokens are edited: give --edit remove too"),
        (("scenes:clip", "--at", "1"), "--at says which tokens are edited: give --edit remove too"),
        (("scenes:clip", "--read", "1"), "--read says which tokens are edited: give --edit remove too"),
        (("scenes:clip", "--edit", "remove", "--text", "snow", "--read", "9"), "no layer 9: layers of this model are"),
        (("scenes:clip", "--edit", "remove", "--text", "snow", "--at", "9"), "no layer 9: layers of this model are"),
        (("scenes:clip", "--edit", "remove", "--text", "zebra"), "--edit remove matches no token: in none of 2 images"),
    ],
)
def test_what_is_refused_in_one_line(place, words, message):
    refused(place, *words, message=message)


def test_maps_of_parts_are_refused(place, maps):
    words = ("scenes:deit", "--maps", str(maps["block"]))
    refused(place, *words, message="maps of the whole representation: vitdecomp align --by representation")


def refused(place, *words, message):
    images = () if "--images" in words else IN_PHOTOS
    out = () if "--out" in words else ("--out", "refused.html")
    before = {path.name for path in place.iterdir()}
    done = run(place, *words, *images, *out, "--quiet", code=2)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last
    assert done.stdout == ""
    assert {path.name for path in place.iterdir()} - MADE == before - MADE
