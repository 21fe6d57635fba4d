"""An alignment on a Ray cluster: Ray Train starts processes on its machines, and `work` runs in all of them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from vitdecomp._utils.progress import Stage
from vitdecomp.distributed.process_group import world_size
from vitdecomp.distributed.ray_cluster import GPUS, SETTINGS, RayCluster, go_to, line
from vitdecomp.errors import OutputError, RankError, SpecError
from vitdecomp_alignment.align.job import Alignment, Job, work
from vitdecomp_alignment.align.messages import DONE, Heard, Shown, Telling, failure

RESTARTS = 5  # after a machine or a process was lost; machines that are lost may be counted once more
LISTENING = 0.5  # seconds that one message is waited for
TRAIN = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # or every process is moved to a folder of its own
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "20",  # for machines of which Ray does not know yet that they are lost
}


def on_ray(job: Job, stage: Stage, address: str | None) -> Alignment:
    """Align with processes on all machines of a Ray cluster, or of one that is started here.

    When a machine is lost, those that are left go on from the last checkpoint of the training.

    Args:
        job: what to align. The images, the store and the result are in places that all machines see.
        stage: shows the parts of the work.
        address: of the cluster.

    Raises:
        SpecError: torchrun started this process among others.
        LoadError: Ray is not installed.
        RankError: there is no cluster, or too much of it was lost.
        OutputError: the result is on another machine.
        VitdecompError: whatever else `work` raises.
    """
    if world_size() > 1:
        raise SpecError("--engine ray starts processes of its own: leave torchrun out")
    cluster = RayCluster(address, "ray.train.torch")
    with cluster.started(), Shown(stage) as shown:
        try:
            found = _at_last(cluster, job, shown)
        except cluster.ray.exceptions.RayError as error:
            raise _lost(line(error)) from error
    if not job.out.exists():
        raise OutputError(f"{job.out} was written on another machine: give a place that all machines see")
    return found


def _at_last(cluster: RayCluster, job: Job, shown: Shown) -> Alignment:
    """What becomes of a job that is begun again when something was lost."""
    why, most = "", 0
    for _ in range(1 + RESTARTS):
        processes = Processes.on(cluster.machines(), job.pairing.subject.device)
        most = max(most, processes.count)
        shown.begin("processes on Ray")
        shown("processes on Ray", processes.count, most)
        heard = Heard(shown)
        why = _listen(cluster, job, heard, processes)
        if heard.alignment is not None:
            return heard.alignment
        if heard.error is not None:
            raise heard.error
        job = replace(job, resume=True)  # this run's own training is not thrown away
    raise _lost(why)


@dataclass(frozen=True, slots=True)
class Processes:
    """How an alignment is spread: a process for each GPU, or else one for each machine, with all its CPUs.

    Attributes:
        count: of them. each: what it takes of its machine. apart: whether no two may be on one machine.
    """

    count: int
    each: Mapping[str, float]
    apart: bool

    @classmethod
    def on(cls, machines: Sequence[Mapping[str, float]], device: str) -> Processes:
        """As many as machines with so many CPUs and GPUs have room for.

        Raises:
            RankError: for none.
        """
        gpus = [machine for machine in machines if machine.get("GPU", 0) >= 1] if device in GPUS else []
        if gpus:
            share = min(machine.get("CPU", 0) // machine["GPU"] for machine in gpus)
            return cls(sum(int(machine["GPU"]) for machine in gpus), {"CPU": share, "GPU": 1.0}, apart=False)
        useful = [machine for machine in machines if machine.get("CPU", 0) >= 1]
        if not useful:
            raise RankError("no machine of the Ray cluster has a CPU: add one, and run the same command again")
        return cls(len(useful), {"CPU": min(machine["CPU"] for machine in useful)}, apart=True)


def _listen(cluster: RayCluster, job: Job, heard: Heard, processes: Processes) -> str:
    """Hear what the processes tell until all of them have ended; if they failed, in which way."""
    from ray.util.queue import Empty, Queue
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ray = cluster.ray
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    mail = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})
    # Ray Train takes the signals of the process where it is asked, so that is one that does nothing else.
    asked = ray.remote(_train).options(num_cpus=0, max_retries=0, scheduling_strategy=here)
    training = asked.remote(Order(job, Path.cwd(), mail), processes)
    try:
        while True:
            ended = ray.wait([training], timeout=0)[0]
            with suppress(Empty):
                while True:
                    heard(*mail.get(timeout=LISTENING))
            if ended:
                break
        ray.get(training)
    except ray.exceptions.RayTaskError as error:
        return line(error)
    finally:
        mail.shutdown(force=True)
    return ""


@dataclass(frozen=True, slots=True)
class Order:
    """What a process on Ray is told.

    Attributes:
        job: what to align. place: where the caller's relative paths begin. mail: takes what there is to tell.
    """

    job: Job
    place: Path
    mail: Any


def _train(order: Order, processes: Processes) -> None:
    """Have Ray Train start the processes, and wait until they have ended."""
    os.environ.update({**SETTINGS, **TRAIN})
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    failures = FailureConfig(max_failures=0, controller_failure_limit=0)  # type: ignore[call-arg] # of the second version
    with TemporaryDirectory() as unused:  # Ray Train asks for a place, and is given nothing to keep
        TorchTrainer(
            in_process_of_ray,
            train_loop_config={"order": order},
            scaling_config=ScalingConfig(
                num_workers=processes.count,
                use_gpu="GPU" in processes.each,
                resources_per_worker=dict(processes.each),
                placement_strategy="STRICT_SPREAD" if processes.apart else "PACK",
            ),
            run_config=RunConfig(storage_path=unused, failure_config=failures),
        ).fit()


def in_process_of_ray(told: Mapping[str, Order]) -> None:
    """The work of one process, which tells what comes of it."""
    order = told["order"]
    go_to(order.place)
    tell = order.mail.put
    try:
        alignment = work(order.job, Telling(tell))
    except Exception as error:  # whatever it is: the caller is told of it
        tell(failure(error))
        raise
    if alignment is not None:
        tell((DONE, alignment))


def _lost(why: str) -> RankError:
    return RankError(f"Ray cannot go on: run the same command again ({why})")
