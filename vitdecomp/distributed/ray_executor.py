"""The Ray executor: Ray Data runs tasks on independent items, Ray Train runs programs."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from vitdecomp._utils.progress import Stage
from vitdecomp.distributed import remote_error
from vitdecomp.distributed.executor import Executor, Item, Output, Program, Task
from vitdecomp.distributed.process_group import Ranks, world_size
from vitdecomp.distributed.ray_cluster import GPU_DEVICES, RayCluster, enter_directory, last_line, lost
from vitdecomp.distributed.ray_train import train
from vitdecomp.errors import SpecError


class RayExecutor(Executor):
    """Runs work on all machines of a Ray cluster, or of one that it starts on this machine.

    Files are in places that all machines see. Work of a machine that is lost goes to others.
    """

    def __init__(self, address: str | None = None) -> None:
        if world_size() > 1:
            raise SpecError("--executor ray cannot run under torchrun: Ray starts its own processes")
        self.cluster = RayCluster(address)

    @contextmanager
    def started(self) -> Iterator[Ranks]:
        """Join the cluster, or start one on this machine."""
        with self.cluster.started():
            self.cluster.ray.data.DataContext.get_current().enable_progress_bars = False
            logging.getLogger("ray.data").setLevel(logging.ERROR)
            yield Ranks()

    def slots(self, ranks: Ranks) -> int:
        """Give so many numbers that two actors seldom have the same one."""
        return 8 * sum(self._actors("auto"))

    def map(self, task: Task[Item, Output], items: Sequence[Item], ranks: Ranks) -> Iterator[tuple[Item, Output]]:
        """Do all items, in an actor for each GPU of the cluster, or else for each CPU."""
        try:
            for row in self._rows(task, items, self.slots(ranks)) if items else ():
                if row["kind"]:
                    raise remote_error.decode(row["kind"], row["error"])
                yield json.loads(row["item"]), json.loads(row["output"])
        except self.cluster.ray.exceptions.RayError as error:
            raise lost(last_line(error)) from error

    def run(self, program: Program[Output], stage: Stage) -> Output | None:
        """Run a program in processes that Ray Train starts and joins."""
        return train(self.cluster, program, stage)

    def _rows(self, task: Task[Item, Output], items: Sequence[Item], slots: int) -> Iterator[dict[str, Any]]:
        """Give what the actors return, in the order in which items are done."""
        data = self.cluster.ray.data
        gpus, cpus = self._actors(task.device)
        encoded = [{"item": json.dumps(item)} for item in items]
        yield from (
            data.from_items(encoded, override_num_blocks=len(items))
            .map_batches(
                _Actor,
                batch_size=1,
                fn_constructor_args=(task.to("cuda" if gpus else "cpu"), slots, Path.cwd()),
                compute=data.ActorPoolStrategy(size=min(gpus or cpus, len(items))),
                num_gpus=1 if gpus else 0,
                num_cpus=0 if gpus else 1,
            )
            .iter_rows()
        )

    def _actors(self, device: str) -> tuple[int, int]:
        """Count the GPUs for actors of a device, and the CPUs if there are no such GPUs."""
        resources = self.cluster.ray.cluster_resources()
        gpus = int(resources.get("GPU", 0)) if device in GPU_DEVICES else 0
        return gpus, 0 if gpus else max(int(resources.get("CPU", 0)), 1)


class _Actor:
    """A worker, loaded when its process has started; an error is returned in place of an output."""

    def __init__(self, task: Task[Any, Any], slots: int, directory: Path) -> None:
        enter_directory(directory)
        self.worker = task.worker(uuid4().int % slots)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[str]]:
        """Do one item."""
        (item,) = batch["item"]
        output, kind, text = None, "", ""
        try:
            output = self.worker(json.loads(item))
        except Exception as error:  # the caller raises it
            kind, text = remote_error.encode(error)
        return {"item": [item], "output": [json.dumps(output)], "kind": [kind], "error": [text]}
