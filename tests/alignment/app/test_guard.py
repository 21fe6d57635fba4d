"""Requests that other sites, or names that were made to lead here, may send are refused."""

import pytest
from fastapi.testclient import TestClient
from vitdecomp_alignment.app import server
from vitdecomp_alignment.app.jobs import JobQueue

ASK = "/api/ask/model"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8399", "127.0.0.1.evil.example", "", "[", "10.0.0.1"])
def test_a_foreign_host_is_refused(client, host):
    response = client.get("/api/session", headers={"host": host})
    assert response.status_code == 421
    assert "evil" not in response.text


@pytest.mark.parametrize("host", ["localhost:8399", "127.0.0.1:1", "[::1]:8399", "LOCALHOST"])
def test_names_of_this_machine_are_not(client, host):
    assert client.get("/api/session", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_posts_of_other_sites_are_refused(client, headers):
    for send in (client.post, client.delete):
        assert send(ASK, headers=headers).status_code == 403
    assert client.post("/api/uploads", content=b"x", headers=headers).status_code == 403


def test_posts_of_the_page_are_not(client):
    headers = {"origin": "http://127.0.0.1:8399", "sec-fetch-site": "same-origin"}
    assert client.post(ASK, json={}, headers=headers).status_code == 200


def test_a_form_of_another_site_could_not_ask_either(client):
    response = client.post(ASK, content=b"{}", headers={"content-type": "text/plain"})
    assert (response.status_code, response.json()["error"]) == (400, "a request must be application/json")


def test_bodies_have_a_limit_that_a_header_cannot_hide(client, session, monkeypatch):
    assert client.post("/api/uploads", content=b"x", headers={"content-length": str(2**40)}).status_code == 413
    assert client.post("/api/uploads", content=b"x", headers={"content-length": "-1"}).status_code == 413
    monkeypatch.setattr(server, "BYTES", 10)
    jobs = JobQueue()
    with TestClient(server.make_app(session, jobs), base_url="http://127.0.0.1") as other:
        response = other.post("/api/uploads", content=(b"x" for _ in range(20)))
    assert (response.status_code, "a request may have 10 bytes" in response.text) == (413, True)
    jobs.close()


@pytest.mark.parametrize("path", ["/", "/static/main.js", "/api/session", "/api/jobs/none", "/nowhere"])
def test_every_answer_forbids_what_the_page_does_not_need(client, path):
    headers = client.get(path).headers
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert "access-control-allow-origin" not in headers
