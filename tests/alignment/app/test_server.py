"""Every route, and what it refuses."""

import io
import json
from pathlib import Path

import pytest
from PIL import Image
from vitdecomp_alignment.app.server import JSON_BYTES, STATIC

HEAD = "visual.trunk.blocks.4.attn.head.2"


def test_the_page_needs_nothing_from_elsewhere(client):
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for place in STATIC.iterdir():
        if place.name.startswith("__"):
            continue
        answer = client.get(f"/static/{place.name}")
        assert answer.status_code == 200
        text = answer.text.replace("http://www.w3.org/", "")
        assert "http:" not in text
        assert "https:" not in text
        for unsafe in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert unsafe not in text, place.name


@pytest.mark.parametrize("name", ["none.js", "..%2Fserver.py", "%2e%2e/server.py", "__init__.py"])
def test_only_the_pages_own_files_are_served(client, name):
    assert client.get(f"/static/{name}").status_code == 404


def test_there_are_no_pages_of_the_framework(client):
    for path in ("/docs", "/redoc", "/openapi.json"):
        assert client.get(path).status_code == 404


def test_the_session_is_told(client):
    told = client.get("/api/session").json()
    assert (told["model"], told["images"], told["world"], told["maps"]) == ("scenes:clip", 48, False, False)
    assert [c["name"] for c in told["components"]][4] == "visual.trunk.blocks.0.attn.head.4"
    assert list(told["features"]) == ["shape", "colour", "pattern", "location", "size"]
    assert "decompose" in told["able"]


@pytest.mark.parametrize(
    ("view", "request_", "why"),
    [
        ("modle", {}, "no view 'modle'; did you mean model?"),
        ("model", {"measure": "weight"}, "measure"),
        ("model", {"more": 1}, "a field 'more' that is unknown"),
        ("model", [], "not an object"),
        ("search", {"k": 10**9}, "k is"),
        ("search", {"row": -1}, "row is"),
        ("component", {}, "no field 'component'"),
    ],
)
def test_a_request_that_does_not_fit_is_refused(client, view, request_, why):
    response = client.post(f"/api/ask/{view}", json=request_)
    assert response.status_code == 400
    assert why in response.json()["error"]


def test_what_is_no_json_or_too_long_is_refused(client):
    headers = {"content-type": "application/json"}
    for content in (b"{", b"[" * 100_000, b"\xff"):
        response = client.post("/api/ask/model", content=content, headers=headers)
        assert response.status_code == 400
        assert "\n" not in response.json()["error"]
    long = json.dumps({"feature": "x" * JSON_BYTES})
    assert client.post("/api/ask/model", content=long, headers=headers).status_code == 400


def test_jobs_are_followed_and_cancelled(client):
    job = client.post("/api/ask/model", json={"measure": "share"}).json()
    assert client.get(f"/api/jobs/{job['id']}", params={"wait": 5}).json()["state"] == "done"
    assert client.delete(f"/api/jobs/{job['id']}").json()["state"] == "done"  # too late
    for send in (client.get, client.delete):
        assert "there is no job 'none'" in send("/api/jobs/none").json()["error"]


def test_images_are_drawn_anew_at_few_sizes(client):
    answer = client.get("/api/images/0", params={"side": 96})
    with Image.open(io.BytesIO(answer.content)) as image:
        assert (image.size, image.format) == ((64, 64), "PNG")
    assert answer.headers["content-type"] == "image/png"
    assert "give one of 96, 160, 320" in client.get("/api/images/0", params={"side": 97}).json()["error"]
    for row in (48, -1):
        assert client.get(f"/api/images/{row}").status_code == 400
    assert client.get("/api/images/x").status_code == 422


def test_an_image_is_taken_and_given_back(client, place):
    data = (place / "scenes" / "003.png").read_bytes()
    told = client.post("/api/uploads", params={"name": "my photo.png"}, content=data).json()
    assert (told["name"], told["width"], told["height"]) == ("my photo.png", 64, 64)
    assert client.get(f"/api/uploads/{told['id']}").status_code == 200
    assert "drop it into the page again" in client.get("/api/uploads/none").json()["error"]
    refused = client.post("/api/uploads", content=b"#!/bin/sh")
    assert (refused.status_code, "cannot read image" in refused.json()["error"]) == (400, True)


@pytest.mark.parametrize("name", ["none", "..%2Fx", "cue-.safetensors", "%2Fetc%2Fpasswd"])
def test_only_models_of_this_session_are_downloaded(client, name):
    assert client.get(f"/api/cues/{name}").status_code in (400, 404)


def test_no_file_of_the_page_is_long():
    assert all(len(Path(str(place)).read_text().splitlines()) < 330 for place in STATIC.iterdir() if place.is_file())
