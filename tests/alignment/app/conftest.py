"""A small session of the embedded world, and the service on it."""

import threading
import time

import pytest
from PIL import Image

from vitdecomp.scenes import SceneDataset

N = 48


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """Scenes in a folder, some more with groups, and a cache that all share."""
    place = tmp_path_factory.mktemp("app")
    data = SceneDataset(N, 3, "test")
    (place / "scenes").mkdir()
    for i in range(N):
        Image.fromarray(data.sample(i).image).save(place / "scenes" / f"{i:03}.png")
    for split, n in (("train", 60), ("test", 24)):
        SceneDataset(n, 0, split, "waterbirds").write(place / "labelled" / split)
    return place


@pytest.fixture(scope="session")
def session(place):
    from vitdecomp_alignment.app.config import SessionConfig
    from vitdecomp_alignment.app.session import Session
    from vitdecomp_alignment.clip.contributions import Reading

    from vitdecomp.models.prepare import ModelOptions

    config = SessionConfig(
        ModelOptions,
        "scenes:clip",
        Reading(images=place / "scenes"),
        features=("scenes",),
        labelled=place / "labelled",
        cache=place / "cache",
    )
    session = Session.of(config)
    yield session
    session.close()


@pytest.fixture(scope="session")
def client(session):
    pytest.importorskip("fastapi", reason="the extra `app` is not installed")
    from fastapi.testclient import TestClient
    from vitdecomp_alignment.app.jobs import JobQueue
    from vitdecomp_alignment.app.server import make_app

    jobs = JobQueue()
    with TestClient(make_app(session, jobs), base_url="http://127.0.0.1:8399") as client:
        yield client
    jobs.close()


@pytest.fixture(scope="session")
def ask(client):
    """Ask for a view, and wait for the answer."""

    def asked(view, state="done", **request):
        response = client.post(f"/api/ask/{view}", json=request)
        assert response.status_code == 200, response.text
        job = response.json()
        until = time.monotonic() + 120
        while job["state"] in ("waiting", "running") and time.monotonic() < until:
            job = client.get(f"/api/jobs/{job['id']}", params={"wait": 5}).json()
        assert job["state"] == state, job
        return job["result"] if state == "done" else job["error"]

    return asked


@pytest.fixture(scope="session")
def serving():
    """Serve a session at an address of this machine."""
    pytest.importorskip("fastapi", reason="the extra `app` is not installed")
    import uvicorn
    from vitdecomp_alignment.app.jobs import JobQueue
    from vitdecomp_alignment.app.run import address_of, listen
    from vitdecomp_alignment.app.server import make_app

    ended = []

    def serve(session):
        taken, jobs = listen("127.0.0.1", 0), JobQueue()
        server = uvicorn.Server(uvicorn.Config(make_app(session, jobs), log_level="warning", access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]}, daemon=True)
        thread.start()
        ended.append((server, thread, jobs))
        return address_of(taken, "127.0.0.1")

    yield serve
    for server, thread, jobs in ended:
        server.should_exit = True
        thread.join(10)
        jobs.close()
