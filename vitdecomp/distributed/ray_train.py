"""Programs on a Ray cluster: Ray Train starts a process on each machine, or for each GPU, and joins them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from vitdecomp._utils.progress import Stage
from vitdecomp.distributed import remote_error
from vitdecomp.distributed.executor import Output, Program
from vitdecomp.distributed.messages import DONE, Attempt, RemoteStage, ShownStage
from vitdecomp.distributed.ray_cluster import (
    GPU_DEVICES,
    SETTINGS,
    RayCluster,
    enter_directory,
    last_line,
    lost,
    require,
)
from vitdecomp.errors import RankError

RESTARTS = 5  # after a machine or a process was lost; machines that are lost may be counted once more
POLL = 0.5  # seconds to wait for a message
TRAIN_SETTINGS = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # or every process is moved to a folder of its own
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "20",  # for machines of which Ray does not know yet that they are lost
}
WAITING = "processes on Ray"


def train(cluster: RayCluster, program: Program[Output], stage: Stage) -> Output | None:
    """Run a program on all machines of a cluster; when one is lost, the others go on from the last checkpoint.

    Args:
        cluster: not started yet.
        program: its files are in places that all machines see.
        stage: shows the parts of the work.

    Raises:
        LoadError: Ray Train is not installed.
        RankError: there is no cluster, or too much of it was lost.
        VitdecompError: whatever else the program raises.
    """
    require("ray.train.torch")
    with cluster.started(), ShownStage(stage) as shown:
        try:
            return _restarting(cluster, program, shown)
        except cluster.ray.exceptions.RayError as error:
            raise lost(last_line(error)) from error


def _restarting(cluster: RayCluster, program: Program[Output], shown: ShownStage) -> Output | None:
    """Run a program again when something was lost."""
    failure, most = "", 0
    for _ in range(1 + RESTARTS):
        placement = Placement.on(cluster.machines(), program.device)
        most = max(most, placement.workers)
        shown.begin(WAITING)
        shown(WAITING, placement.workers, most)
        attempt = Attempt(shown)
        failure = _attempt(cluster, program, attempt, placement)
        if attempt.done:
            output: Output | None = attempt.output
            return output
        if attempt.error is not None:
            raise attempt.error
        program = program.resumed()  # this run's own training is not thrown away
    raise lost(failure)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where workers run: one for each GPU, or else one for each machine, with all its CPUs.

    Attributes:
        workers: their number. resources: of each. spread: whether no two may be on one machine.
    """

    workers: int
    resources: Mapping[str, float]
    spread: bool

    @classmethod
    def on(cls, machines: Sequence[Mapping[str, float]], device: str) -> Placement:
        """Place as many workers as machines with so many CPUs and GPUs have room for.

        Raises:
            RankError: there is room for none.
        """
        gpus = [machine for machine in machines if machine.get("GPU", 0) >= 1] if device in GPU_DEVICES else []
        if gpus:
            cpus = min(machine.get("CPU", 0) // machine["GPU"] for machine in gpus)
            return cls(sum(int(machine["GPU"]) for machine in gpus), {"CPU": cpus, "GPU": 1.0}, spread=False)
        useful = [machine for machine in machines if machine.get("CPU", 0) >= 1]
        if not useful:
            raise RankError("no machine of the Ray cluster has a CPU: add one, and run the same command again")
        return cls(len(useful), {"CPU": min(machine["CPU"] for machine in useful)}, spread=True)


def _attempt(cluster: RayCluster, program: Program[Any], attempt: Attempt, placement: Placement) -> str:
    """Start the workers and read their messages until all have ended; return Ray's error, if there is one."""
    from ray.util.queue import Empty, Queue
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ray = cluster.ray
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    queue = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})
    # Ray Train takes the signals of the process that calls it, so that is one that does nothing else.
    remote = ray.remote(_train).options(num_cpus=0, max_retries=0, scheduling_strategy=here)
    training = remote.remote(RemoteProgram(program, Path.cwd(), queue), placement)
    try:
        while True:
            ended = ray.wait([training], timeout=0)[0]
            with suppress(Empty):
                while True:
                    attempt.receive(*queue.get(timeout=POLL))
            if ended:
                break
        ray.get(training)
    except ray.exceptions.RayTaskError as error:
        return last_line(error)
    finally:
        queue.shutdown(force=True)
    return ""


@dataclass(frozen=True, slots=True)
class RemoteProgram:
    """A program as a worker receives it.

    Attributes:
        program: to be called. directory: where the caller's relative paths begin. queue: takes messages.
    """

    program: Program[Any]
    directory: Path
    queue: Any

    def run(self) -> None:
        """Call the program, and send its output or error."""
        enter_directory(self.directory)
        try:
            output = self.program(RemoteStage(self.queue.put))
        except Exception as error:  # the caller raises it
            self.queue.put(remote_error.encode(error))
            raise
        if output is not None:
            self.queue.put((DONE, output))


def _train(program: RemoteProgram, placement: Placement) -> None:
    """Have Ray Train start the workers, and wait until they have ended."""
    os.environ.update({**SETTINGS, **TRAIN_SETTINGS})
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    failures = FailureConfig(max_failures=0, controller_failure_limit=0)  # type: ignore[call-arg] # of the second version
    with TemporaryDirectory() as unused:  # Ray Train asks for a place, and is given nothing to keep
        TorchTrainer(
            _worker,
            train_loop_config={"program": program},
            scaling_config=ScalingConfig(
                num_workers=placement.workers,
                use_gpu="GPU" in placement.resources,
                resources_per_worker=dict(placement.resources),
                placement_strategy="STRICT_SPREAD" if placement.spread else "PACK",
            ),
            run_config=RunConfig(storage_path=unused, failure_config=failures),
        ).fit()


def _worker(config: Mapping[str, RemoteProgram]) -> None:
    config["program"].run()
