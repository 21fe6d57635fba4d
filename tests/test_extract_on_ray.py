"""A Ray of two nodes writes the store that one process writes, even if one of them is killed."""

import importlib.util
import json
import os
import subprocess
import sys
import time

import pytest
from test_extract_together import N, assert_same, place, words

import vitdecomp as vd
from vitdecomp.columns import PARTS

__all__ = ["place"]  # the same model and pictures

CLUSTER = """
import os, signal, sys
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
cluster.wait_for_nodes()
print(cluster.address, flush=True)
for line in sys.stdin:
    cluster.remove_node(nodes.pop(), allow_graceful=False)
cluster.shutdown()
"""
# A node's processes are as urgent as others, or they would wait for whatever else the machine does.
PATIENT = {"RAY_worker_niceness": "0"}
ENVIRONMENT = {**os.environ, **PATIENT, "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}


@pytest.fixture
def cluster(place):
    """Its address, and the process that kills a node for each line that it is told."""
    (place / "cluster.py").write_text(CLUSTER)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with (place / "cluster.log").open("w") as log:
        command = [sys.executable, "cluster.py"]
        process = subprocess.Popen(command, cwd=place, env=ENVIRONMENT, text=True, stderr=log, **pipes)
        address = process.stdout.readline().strip()
        assert address, (place / "cluster.log").read_text()
        yield address, process
        process.communicate(timeout=60)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not there for this Python")
@pytest.mark.xdist_group("ray")
def test_a_node_is_killed(place, cluster, in_process):
    address, nodes = cluster
    command = [sys.executable, "-m", "vitdecomp", *words("s.lance", "--json", "--engine", "ray", "--address", address)]
    (place / "photos" / "09.png").write_bytes(b"torn")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(list(map(str, command)), cwd=place, env=ENVIRONMENT, text=True, **pipes)
    parts, end = place / "s.lance" / PARTS, time.monotonic() + 200
    while len(list(parts.glob("*/_versions/*.manifest"))) < 6:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.001)
    nodes.stdin.write("kill\n")
    nodes.stdin.flush()
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    told = json.loads(out)
    assert told["skipped"] == ["09.png"]
    assert told["images"] == told["added"] == N - 1
    assert in_process(place, *words("once.lance", "--quiet")).returncode == 0
    assert_same(vd.Store(place / "s.lance"), vd.Store(place / "once.lance"))


def test_what_cannot_work_is_one_line(place, in_process, monkeypatch):
    refused = {
        ("--address", "localhost:1"): "add --engine ray",
        ("--engine", "rya"): "did you mean ray",
    }
    for flags, words_ in refused.items():
        done = in_process(place, *words("s.lance", *flags))
        assert done.returncode == 2
        assert words_ in done.stderr
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    done = in_process(place, *words("s.lance", "--engine", "ray"))
    assert done.returncode == 2
    assert done.stderr == "error: --engine ray needs Ray: pip install 'vitdecomp[ray]'\n"
    assert not (place / "s.lance").exists()
