"""`vitdecomp app` as its users run it, and what it refuses in one line."""

import os
import re
import socket
import sys
import time
from pathlib import Path

import httpx
import pytest
from commands import in_process
from forks import Fork, command
from vitdecomp_alignment.app.run import EXTRA, address_of, listen, share_cores

pytestmark = pytest.mark.xdist_group("alignment-app")


def refused(place, *words):
    done = in_process(place, "app", *words, "--no-browser", "--port", "0", "--quiet")
    assert done.returncode == 2
    assert done.stderr.count("error:") == 1
    assert "Traceback" not in done.stderr
    return done.stderr


def test_it_serves_until_it_is_interrupted(place):
    pytest.importorskip("uvicorn", reason="the extra `app` is not installed")
    words = ("app", "--images", "scenes", "--cache", "cache", "--no-browser", "--port", "0", "--quiet")
    fork = Fork(command, *words, cwd=place)
    try:
        written, until = None, time.monotonic() + 120
        while written is None and time.monotonic() < until and fork.poll() is None:
            written = re.search(r"http://127\.0\.0\.1:\d+/", (Path(fork._folder) / "out").read_text())
            time.sleep(0.2)
        assert written, "it has told no address"
        told = httpx.get(f"{written[0]}api/session", timeout=30).json()
        assert (told["model"], told["images"]) == ("scenes:clip", 48)
    finally:
        fork.send_signal(2)
    _, err = fork.communicate()
    assert fork.returncode == 0
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--store", "none.lance"), "there are no contributions in none.lance"),
        (("--images", "none"), "there is no file or folder none"),
        (("scenes:none",), "no"),
        (("--maps", "none.safetensors"), "none.safetensors"),
        (("scenes:deit",), "scenes:deit has no texts of its own: give --maps"),
        (("--store", "a", "--images", "scenes"), "not both"),
        (("--images", "scenes", "--image-root", "none"), "there is no folder none"),
        (("--directions", "2"), "--directions: the page shows whole components"),
        (("--host", "no.such.host.invalid"), "cannot listen at no.such.host.invalid"),
    ],
)
def test_it_refuses_in_one_line(place, words, why):
    assert why in refused(place, *words)


def test_a_port_that_is_taken_is_told(place):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = in_process(place, "app", "--no-browser", "--port", port)
    assert done.returncode == 2
    assert f"cannot listen at 127.0.0.1:{port} (Address already in use): give another --port" in done.stderr


def test_a_missing_extra_is_named(place, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert EXTRA in refused(place)


def test_addresses_are_written_as_browsers_take_them():
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        assert address_of(taken, "127.0.0.1") == f"http://127.0.0.1:{port}/"
        assert address_of(taken, "::1") == f"http://[::1]:{port}/"


def test_threads_sleep_while_they_wait_unless_the_user_says_otherwise(monkeypatch):
    for said, wanted in ((None, "passive"), ("active", "active")):
        monkeypatch.setenv("OMP_WAIT_POLICY", said or "")
        if said is None:
            monkeypatch.delenv("OMP_WAIT_POLICY")
        share_cores()
        assert os.environ["OMP_WAIT_POLICY"] == wanted
