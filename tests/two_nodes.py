"""A Ray of two nodes on this machine, started in a folder of its own, as a cluster is elsewhere than its users."""

import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from forks import Fork, command

CLUSTER = """
import sys
from ray.cluster_utils import Cluster

checks = {"health_check_period_ms": 1000}
head = {"num_cpus": 0, "include_dashboard": False, "_system_config": checks}
cluster = Cluster(initialize_head=True, head_node_args=head)
nodes = []
for line in sys.stdin:
    if line.strip() == "kill":
        cluster.remove_node(nodes.pop(), allow_graceful=False)
    else:
        nodes += [cluster.add_node(num_cpus=1) for _ in range(2 - len(nodes))]
        cluster.wait_for_nodes()
        print(cluster.address, flush=True)
cluster.shutdown()
"""
# A node's processes are as urgent as others, or they would wait for whatever else the machine does.
PATIENT = {"RAY_worker_niceness": "0"}
ENVIRONMENT = {**os.environ, **PATIENT, "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Nodes:
    """The program that has started them."""

    process: subprocess.Popen
    log: Path

    def ready(self):
        """The address, once there are two of them."""
        self._tell("two")
        address = self.process.stdout.readline().strip()
        assert address, self.log.read_text()
        return address

    def kill(self):
        """End one of them, as a machine ends that loses its power."""
        self._tell("kill")

    def _tell(self, word):
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()


@contextmanager
def two_nodes(folder):
    """The cluster, until it is needed no more."""
    (folder / "cluster.py").write_text(CLUSTER)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with (folder / "cluster.log").open("w") as log:
        cluster = [sys.executable, "cluster.py"]
        process = subprocess.Popen(cluster, cwd=folder, env=ENVIRONMENT, text=True, stderr=log, **pipes)
        try:
            yield Nodes(process, folder / "cluster.log")
        finally:
            process.communicate(timeout=60)


def started(place, *words):
    """The command, which may join them."""
    return Fork(command, *words, cwd=place, **ENVIRONMENT)
