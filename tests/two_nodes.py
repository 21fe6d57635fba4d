"""A Ray of two nodes on this machine, started in a folder of its own, as a cluster is elsewhere than its users."""

import os
import subprocess
import sys
from contextlib import contextmanager

from forks import Fork, command

# Each node has an address of its own, or the command might join the one that is killed, and end with it: Ray takes the
# head, or in older versions the node that was added last.
CLUSTER = """
import sys
from ray.cluster_utils import Cluster

checks = {"health_check_period_ms": 1000}
head = {"num_cpus": 0, "include_dashboard": False, "_system_config": checks}
cluster = Cluster(initialize_head=True, head_node_args=head)
nodes = [cluster.add_node(num_cpus=1, node_ip_address=f"127.0.0.{i}") for i in (2, 3)]
cluster.wait_for_nodes()
print(cluster.address, flush=True)
for line in sys.stdin:
    cluster.remove_node(nodes.pop(0), allow_graceful=False)
cluster.shutdown()
"""
# A node's processes are as urgent as others, or they would wait for whatever else the machine does.
PATIENT = {"RAY_worker_niceness": "0"}
ENVIRONMENT = {**os.environ, **PATIENT, "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}


@contextmanager
def two_nodes(folder):
    """The address, and what kills one of them."""
    folder.mkdir()
    (folder / "cluster.py").write_text(CLUSTER)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with (folder / "cluster.log").open("w") as log:
        cluster = [sys.executable, "cluster.py"]
        process = subprocess.Popen(cluster, cwd=folder, env=ENVIRONMENT, text=True, stderr=log, **pipes)

        def kill():
            process.stdin.write("kill\n")
            process.stdin.flush()

        address = process.stdout.readline().strip()
        assert address, (folder / "cluster.log").read_text()
        try:
            yield address, kill
        finally:
            process.communicate(timeout=60)


def started(place, *words):
    """The command, which may join them."""
    return Fork(command, *words, cwd=place, **ENVIRONMENT)
