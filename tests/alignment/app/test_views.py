"""Every view shows what the library computes, and says how to compute it again."""

import contextlib
import io
import json
import shlex

import numpy as np
import pytest
import torch
from commands import in_process, succeeded
from vitdecomp_alignment.app.views.component import ComponentView

from vitdecomp._utils.progress import unseen
from vitdecomp.deploy.debiased import Debiased
from vitdecomp.errors import InputError, SpecError
from vitdecomp.images.opening import open_image

pytestmark = pytest.mark.xdist_group("alignment-app")
HEAD = "visual.trunk.blocks.4.attn.head.2"


def again(place, result, *more):
    """Run what the page gives to copy, in one process, from a folder where the images are."""
    words = shlex.split(result["command"].splitlines()[0])
    assert words[0] == "vitdecomp"
    return json.loads(succeeded(in_process(place / "scenes", *words[1:], *more, "--cache", place / "cache")).stdout)


def printed(result, place, monkeypatch):
    """Run the Python that the page gives to copy."""
    monkeypatch.setenv("VITDECOMP_CACHE", str(place / "cache"))
    monkeypatch.chdir(place / "scenes")
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(result["python"], "copied", "exec"), {"__name__": "copied"})
    return out.getvalue()


def test_sizes_are_those_of_the_contributions(ask, session, place, monkeypatch):
    result = ask("model")
    c = session.store.take(range(len(session.store)))
    wanted = c.values.double().norm(dim=2).mean(0)
    found = [result["answer"]["values"][component.name] for component in c.components]
    assert np.allclose(found, wanted, rtol=1e-5)
    assert result["command"].startswith("python - <<'END'")
    lines = dict(line.rsplit(" ", 1) for line in printed(result, place, monkeypatch).splitlines())
    assert float(lines[HEAD]) == pytest.approx(result["answer"]["values"][HEAD])
    shares = ask("model", measure="share")["answer"]["values"]
    assert sum(shares.values()) == pytest.approx(1)


def test_scores_are_those_of_rank(ask, place):
    result = ask("model", measure="score", feature="location")
    told = again(place, result)["features"]["location"]["components"]
    values = result["answer"]["values"]
    assert {row["component"]: pytest.approx(row["score"], abs=1e-6) for row in told} == values
    assert len(values) == 54
    assert "did you mean location?" in ask("model", state="failed", measure="score", feature="locaton")


def test_names_are_those_of_describe(ask, place):
    result = ask("model", measure="name")
    told = {row["component"]: row for row in again(place, result)["components"]}
    values = result["answer"]["values"]
    assert {name: row["texts"][0]["r2"] for name, row in told.items()} == pytest.approx(values, abs=1e-6)
    unsure = {name for name, row in told.items() if not row["named"]}
    assert {*result["answer"]["names"]} == {*values} - unsure


def test_a_component_has_the_images_of_a_search_by_it_alone(ask, place):
    result = ask("component", component=HEAD, k=5)
    answer = result["answer"]
    assert answer["names"]["texts"][0]["text"] == answer["text"]
    result["command"] = result["command"].splitlines()[1]
    told = again(place, result, "--json")["hits"]
    assert [hit["row"] for hit in told] == [hit["row"] for hit in answer["most"]]
    assert [hit["score"] for hit in told] == pytest.approx([hit["score"] for hit in answer["most"]], abs=1e-6)
    least = [hit["score"] for hit in answer["least"]]
    assert least == sorted(least)
    assert max(least) <= min(hit["score"] for hit in answer["most"])
    along = ask("component", component=HEAD, text="a blue thing")["answer"]
    assert along["text"] == "a blue thing"
    assert [hit["row"] for hit in along["most"]] != [hit["row"] for hit in answer["most"]]


@pytest.mark.parametrize(
    ("name", "why"), [("bias.visual.trunk.norm", "the same for every image"), ("blocks.9", "no component matches")]
)
def test_a_component_that_is_constant_or_none_is_refused(ask, name, why):
    assert why in ask("component", state="failed", component=name)


def test_a_component_without_a_name_is_shown_along_a_text(session, monkeypatch):
    def few(*_):
        raise InputError("5 folds need 10 images or more, not 3")

    monkeypatch.setattr("vitdecomp_alignment.app.views.component.name_components", few)
    answer = ComponentView(HEAD, "a red thing").answer(session, unseen)
    assert answer["names"]["why"].startswith("5 folds")
    assert answer["most"]
    with pytest.raises(SpecError, match=r"has no name \(5 folds need 10 images"):
        ComponentView(HEAD).answer(session, unseen)


@pytest.mark.parametrize(
    "request_",
    [
        {"text": "something in a forest", "feature": "location", "k": 5},
        {"text": "-- $(rm -rf x) 'a red' thing", "negative": "a circle", "k": 4},
        {"text": "a red thing", "components": [HEAD, "visual.trunk.blocks.5.*"], "without": ["location"], "k": 6},
    ],
)
def test_a_search_is_that_of_the_command(ask, place, request_):
    result = ask("search", **request_)
    told = again(place, result, "--json")
    assert [hit["row"] for hit in told["hits"]] == [hit["row"] for hit in result["answer"]["hits"]]
    assert [hit["score"] for hit in told["hits"]] == pytest.approx(
        [hit["score"] for hit in result["answer"]["hits"]], abs=1e-6
    )
    scoped = "feature" in request_ or "components" in request_
    assert len(result["answer"]["whole"]) == (request_["k"] if scoped else 0)


def test_a_search_by_a_dropped_image_leaves_it_out(client, ask, place, monkeypatch):
    data = (place / "scenes" / "007.png").read_bytes()
    upload = client.post("/api/uploads", params={"name": "007.png"}, content=data).json()
    result = ask("search", upload=upload["id"], feature="colour", k=5)
    assert [hit["id"] for hit in result["answer"]["left_out"]] == ["007.png"]
    told = again(place, result, "--json")
    assert [hit["row"] for hit in told["hits"]] == [hit["row"] for hit in result["answer"]["hits"]]
    by_row = ask("search", row=7, feature="colour", k=6)
    rows = [hit["row"] for hit in by_row["answer"]["hits"]]
    assert rows == [7, *(hit["row"] for hit in result["answer"]["hits"])]
    assert f"row={rows[1]}," in printed(by_row, place, monkeypatch)
    assert "type some words, or drop an image" in ask("search", state="failed")
    assert "drop it into the page again" in ask("search", state="failed", upload="none")


def test_an_image_is_the_sum_of_its_blocks(ask, session):
    answer = ask("image", row=3)["answer"]
    assert sum(one["share"] for one in answer["blocks"]) == pytest.approx(1, abs=1e-5)
    assert sum(answer["shares"].values()) == pytest.approx(1, abs=1e-5)
    assert answer["name"] == "003.png"
    assert answer["error"] < 1e-5
    c = session.store.take([3])
    share = c[HEAD][0] @ c.total()[0] / c.total()[0].square().sum()
    assert answer["shares"][HEAD] == pytest.approx(float(share), abs=1e-4)
    assert len(answer["parts"]) == 16
    assert "no image yet" in ask("image", state="failed")


def test_the_code_of_an_image_prints_its_shares(ask, place, monkeypatch):
    result = ask("image", row=3)
    lines = [line.split() for line in printed(result, place, monkeypatch).splitlines()]
    found = {name: float(share) for name, _, share in lines}
    assert found == pytest.approx(result["answer"]["shares"], abs=1e-4)


def test_tokens_are_those_of_latent(ask, place):
    result = ask("tokens", row=3, k=2)
    answer = result["answer"]
    told = again(place, result, "--json")
    words = told["images"][0]["words"]
    assert [one["kind"] for one in told["tokens"]] == [one["kind"] for one in answer["tokens"]]
    for layer in (0, len(answer["layers"]) - 1):
        mine = [[answer["texts"][i] for i in token] for token in answer["words"][layer]]
        assert mine == [[text for text, _ in token] for token in words[layer]]


def test_maps_are_those_of_explain(ask, session, place):
    result = ask("maps", texts=["a red thing"], rows=[3, 4], methods=["decompose", "value"], components=[HEAD])
    images = result["answer"]["images"]
    assert [one["row"] for one in images] == [3, 4]
    assert [map_["method"] for map_ in images[0]["maps"]] == ["decompose", "value"]
    told = again(place, result, "--json", "--out", place / "maps")
    score = told["images"][0]["maps"][0]["score"] if "maps" in told["images"][0] else None
    assert score is None or float(images[0]["maps"][0]["caption"]["score"]) == pytest.approx(score, rel=1e-2)
    assert "no text" in ask("maps", state="failed", texts=[], rows=[1])
    assert "0 images: give 1 to 24" in ask("maps", state="failed", texts=["x"])
    assert "no explainer 'decompos'" in ask("maps", state="failed", texts=["x"], rows=[1], methods=["decompos"])


def test_a_cue_is_removed_as_debias_does(client, ask, session, place):
    request = {"spurious": "water,snow,forest,sand", "core": "circle,heart,star,square", "top": 5, "limit": 60}
    result = ask("cue", **request)
    answer = result["answer"]
    told = again(place, result, "--json")
    assert json.loads(json.dumps(told["summary"])) == answer["summary"]
    assert told["components"] == answer["components"]
    assert len(answer["accuracy"]) == 4
    data = client.get(f"/api/cues/{answer['download']}")
    assert "without-cue.safetensors" in data.headers["content-disposition"]
    (place / "downloaded.safetensors").write_bytes(data.content)
    mine, theirs = (
        Debiased.load(file) for file in (place / "downloaded.safetensors", place / "scenes" / "without-cue.safetensors")
    )
    batch = session.subject.batch([open_image(place / "scenes" / "000.png")])
    assert torch.allclose(mine(batch), theirs(batch), atol=1e-5)
    assert "words of the cue are missing" in ask("cue", state="failed", spurious=" ", core="a")
    assert "--top 900" in ask("cue", state="failed", **{**request, "top": 900})
