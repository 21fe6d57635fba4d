"""A Ray cluster: Ray Data hands chunks to actors, and gives those of a lost node to others."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from vitdecomp.distributed.process_group import Ranks
from vitdecomp.distributed.ray_cluster import GPUS, RayCluster, as_told, go_to, line
from vitdecomp.errors import RankError, SpecError, VitdecompError
from vitdecomp.extract.config import Order
from vitdecomp.extract.engine import Engine, Tick, Worker
from vitdecomp.extract.extractor import Extractor


class OnRay(Engine):
    """An actor for each GPU of the cluster, or else for each CPU; each loads the model once.

    The images and the store must be in places that all its machines see. The process that asked for it begins the store
    and takes over what they wrote; if it is killed, the next run goes on from there.
    """

    def __init__(self, mine: Ranks, address: str | None) -> None:
        if mine.world_size > 1:
            raise SpecError("--engine ray starts processes of its own: leave torchrun out")
        self.cluster = RayCluster(address, "ray.data")
        self.ray = self.cluster.ray

    @property
    def alone(self) -> bool:
        """Never."""
        return False

    @property
    def tables(self) -> int:
        """So many that two actors seldom have the same one."""
        return 8 * sum(self._actors("auto"))

    def run(self, chunks: Sequence[list[int]], extractor: Extractor, uri: str, tick: Tick) -> list[int]:
        """Have the cluster write all chunks."""
        if not chunks:
            return []
        skipped = list[int]()
        try:
            for row in self._rows(chunks, extractor.order(uri)):
                if row["error"]:
                    raise as_told(row["kind"], row["error"])
                skipped += [int(index) for index in row["skipped"]]
                tick(row["images"])
        except self.ray.exceptions.RayError as error:
            raise RankError(f"Ray cannot go on: run the same command again ({line(error)})") from error
        return skipped

    @contextmanager
    def started(self) -> Iterator[None]:
        """Join the cluster at the address, or start one on this machine; a process that has joined one stays in it."""
        with self.cluster.started():
            self.ray.data.DataContext.get_current().enable_progress_bars = False
            logging.getLogger("ray.data").setLevel(logging.ERROR)
            yield

    def _rows(self, chunks: Sequence[list[int]], order: Order) -> Iterator[dict[str, Any]]:
        """What the actors say of each chunk, in the order in which they are done."""
        gpus, cpus = self._actors(order.options.device)
        options = replace(order.options, device="cuda" if gpus else "cpu")
        items = [{"chunk": chunk} for chunk in chunks]
        data = self.ray.data.from_items(items, override_num_blocks=len(items))
        yield from data.map_batches(
            Actor,
            batch_size=1,
            fn_constructor_args=(replace(order, options=options), self.tables, Path.cwd()),
            compute=self.ray.data.ActorPoolStrategy(size=min(gpus or cpus, len(chunks))),
            num_gpus=1 if gpus else 0,
            num_cpus=0 if gpus else 1,
        ).iter_rows()

    def _actors(self, device: str) -> tuple[int, int]:
        """GPUs that a model on this device may have, and CPUs if there are none."""
        there = self.ray.cluster_resources()
        gpus = int(there.get("GPU", 0)) if device in GPUS else 0
        return gpus, 0 if gpus else max(int(there.get("CPU", 0)), 1)


class Actor:
    """A `Worker` that is made when its process has started; its errors are told as rows."""

    def __init__(self, order: Order, tables: int, place: Path) -> None:
        go_to(place)
        self.worker = Worker(Extractor.of(order), order.uri, uuid4().int % tables)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        """One chunk."""
        indices = [int(index) for index in batch["chunk"][0]]
        try:
            skipped, error, kind = self.worker(indices), "", ""
        except VitdecompError as found:
            skipped, error, kind = [], str(found), type(found).__name__
        return {"images": [len(indices)], "skipped": [skipped], "error": [error], "kind": [kind]}
