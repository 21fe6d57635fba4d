"""Processes that work together: real ones, since nothing else dies like them."""

import json
import socket
import subprocess
import sys

import pytest
import torch
from forks import Fork, source

from vitdecomp.distributed.process_group import Ranks, ranks

LAUNCH = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
TOGETHER = """
import json, sys, torch
from vitdecomp.distributed.process_group import ranks
with ranks() as mine:
    ones = torch.full((3,), 10.0**mine.rank, dtype=torch.float64)
    own = {"rank": mine.rank, "of": [mine.world_size] * (1 + 5 * mine.rank), "shard": mine.shard([1, 2, 3])}
    gathered = mine.all_gather(own)
    mine.barrier()
    with ranks() as again:  # within a group that is there already
        both = again.all_reduce(torch.tensor([again.rank + 1]))
    if mine.first:
        sums = mine.all_reduce(ones).tolist()
        open(sys.argv[1], "w").write(json.dumps([gathered, sums, ones.tolist(), both.tolist()]))
    else:
        mine.all_reduce(ones)
"""
LOST = """
import os, sys
from vitdecomp.errors import VitdecompError
from vitdecomp.distributed.process_group import ranks
try:
    with ranks() as mine:
        mine.barrier()
        if not mine.first:
            os.kill(os.getpid(), 9)
        mine.all_gather(1)
except VitdecompError as error:
    sys.exit(f"error: {error}")
"""


def test_one_process_alone_is_all_there_is():
    with ranks() as mine:
        assert mine == Ranks(0, 1)
        assert mine.first
        tensor = torch.ones(2)
        assert mine.all_reduce(tensor) is tensor
        assert mine.all_gather({"a": [1]}) == [{"a": [1]}]
        assert mine.shard(range(5)) == range(5)
        assert mine.device("auto") == "auto"
        mine.barrier()
    assert not torch.distributed.is_initialized()


def test_processes_of_a_machine_take_its_gpus_in_turn(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    run = [Ranks(rank, 6, rank % 3) for rank in range(6)]  # two machines with three processes each
    for name in ("auto", "cuda"):
        assert [mine.device(name) for mine in run] == ["cuda:0", "cuda:1", "cuda:0"] * 2
    assert {mine.device(name) for mine in run for name in ("cpu", "cuda:1")} == {"cpu", "cuda:1"}
    assert Ranks().device("cuda") == "cuda"


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shards_are_disjoint_and_make_up_the_whole(count):
    for items in (range(3, 17, 2), list("abcdef"), ()):
        shards = [Ranks(rank, count).shard(items) for rank in range(count)]
        assert all(type(shard) is type(items) for shard in shards)
        assert sorted(item for shard in shards for item in shard) == sorted(items)
        assert max(map(len, shards)) - min(map(len, shards)) <= 1


def test_two_processes_add_and_tell(tmp_path):
    (tmp_path / "together.py").write_text(TOGETHER)
    words = [*LAUNCH, tmp_path / "together.py", tmp_path / "out"]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told, total, ones, both = json.loads((tmp_path / "out").read_text())
    assert told == [
        {"rank": 0, "of": [2], "shard": [1, 3]},
        {"rank": 1, "of": [2] * 6, "shard": [2]},
    ]
    assert total == [11.0] * 3
    assert ones == [1.0] * 3  # what was given stays
    assert both == [3]


def test_who_waits_for_a_process_that_was_killed_is_told(tmp_path):
    """Without torchrun, which would end the others itself."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        run = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(free.getsockname()[1])}
    both = [Fork(source, LOST, RANK=rank, LOCAL_RANK=rank, **run) for rank in ("0", "1")]
    said = [process.communicate()[1] for process in both]
    assert both[1].returncode == -9
    assert both[0].returncode == 1
    assert "error: another process of this run has ended: run the same command again (" in said[0]
