"""Processes that torchrun starts write the store that one process writes, even if one of them is killed."""

import json
import os
import signal
import time

import pytest
from extract_runs import N, assert_same, place, words
from forks import Fork, command, torchrun

import vitdecomp as vd
from vitdecomp.store.lock import locked
from vitdecomp.store.schema import STAGING

__all__ = ["place"]  # a fixture


@pytest.mark.slow
def test_two_processes_write_what_one_writes(place, in_process):
    (place / "photos" / "09.png").write_bytes(b"torn")
    process = Fork(torchrun, 0, command, *words("s.lance", "--json"), cwd=place)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    assert err.count(f" of {N}\n") <= 11  # the first process alone says how far it is
    told = json.loads(out)
    assert told == {**json.loads(in_process(place, *words("once.lance", "--json")).stdout), "out": "s.lance"}
    assert told["skipped"] == ["09.png"]
    assert told["images"] == told["added"] == N - 1
    assert_same(vd.Store(place / "s.lance"), vd.Store(place / "once.lance"))


@pytest.mark.slow
def test_a_process_is_killed(place, in_process):
    """Torchrun ends the other; one process goes on with what both have written."""
    process = Fork(torchrun, 0, command, *words("s.lance"), cwd=place)
    parts, end = place / "s.lance" / STAGING, time.monotonic() + 200
    while len(list(parts.glob("*/_versions/*.manifest"))) < 4:
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.001)
    with pytest.raises(vd.OutputError, match="another process writes to"), locked(str(place / "s.lance")):
        pass
    os.kill(int((place / "pid-1").read_text()), signal.SIGKILL)
    _, err = process.communicate(timeout=600)
    assert process.returncode != 0, err
    with pytest.raises(vd.InputError, match="is not finished"):
        vd.Store(place / "s.lance")
    done = in_process(place, *words("s.lance", "--json"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["images"] == N
    assert in_process(place, *words("once.lance", "--quiet")).returncode == 0
    assert_same(vd.Store(place / "s.lance"), vd.Store(place / "once.lance"))
