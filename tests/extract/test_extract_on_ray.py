"""A Ray of two nodes writes the store that one process writes, even if one of them is killed."""

import importlib.util
import json
import sys
import time

import pytest
from extract_runs import N, assert_same, place, words
from two_nodes import started, two_nodes

import vitdecomp as vd
from vitdecomp.store.schema import STAGING

__all__ = ["place"]  # the same model and pictures


@pytest.fixture
def cluster(place):
    """Its address, and what kills one of its nodes."""
    with two_nodes(place / "elsewhere") as nodes:
        yield nodes


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not there for this Python")
@pytest.mark.xdist_group("ray")
def test_a_node_is_killed(place, cluster, in_process):
    address, kill = cluster
    (place / "photos" / "09.png").write_bytes(b"torn")
    process = started(place, *words("s.lance", "--json", "--executor", "ray", "--address", address))
    parts, end = place / "s.lance" / STAGING, time.monotonic() + 200
    while len(list(parts.glob("*/_versions/*.manifest"))) < 6:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.001)
    kill()
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    told = json.loads(out)
    assert told["skipped"] == ["09.png"]
    assert told["images"] == told["added"] == N - 1
    assert in_process(place, *words("once.lance", "--quiet")).returncode == 0
    assert_same(vd.Store(place / "s.lance"), vd.Store(place / "once.lance"))


def test_what_cannot_work_is_one_line(place, in_process, monkeypatch):
    refused = {
        ("--address", "localhost:1"): "--address requires --executor ray",
        ("--executor", "rya"): "did you mean ray",
    }
    for flags, words_ in refused.items():
        done = in_process(place, *words("s.lance", *flags))
        assert done.returncode == 2
        assert words_ in done.stderr
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    done = in_process(place, *words("s.lance", "--executor", "ray"))
    assert done.returncode == 2
    assert done.stderr == "error: --executor ray requires Ray: pip install 'vitdecomp[ray]'\n"
    assert not (place / "s.lance").exists()
