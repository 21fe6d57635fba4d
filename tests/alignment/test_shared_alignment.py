"""Several processes align as one would, and one that is killed costs no more than what it did since the checkpoint."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from test_coefficients import written
from vitdecomp_alignment import ClosedForm, CompAlign

from vitdecomp import Store
from vitdecomp.testing import AlignerContract

CLIP = "made:clip"
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node")
N = 500
LONG = ("--set", "epochs=400", "--set", "patience=100000", "--set", "learning_rate=0.0001", "--set", "init=random")
METHODS = {
    "closed form": ("--method", "closed-form"),
    "few images": ("--method", "closed-form", "--set", "max_rank=12"),
    "trained": ("--set", "epochs=3"),
    "from nothing": ("--set", "epochs=3", "--set", "init=random", "--set", "batch_size=31"),
    "whole space": ("--set", "epochs=2", "--set", "coordinates=full", "--set", "bias=true"),
    "as the public code": ("--set", "epochs=2", "--set", "penalty=mean_square", "--set", "orthogonality=1.0"),
    "orthogonal": ("--set", "epochs=2", "--set", "orthogonality=hard"),
    "one map": ("--method", "linear", "--set", "epochs=2"),
}
SCRIPT = """
import os, sys
from pathlib import Path

Path(f"pid-{os.environ['RANK']}").write_text(str(os.getpid()))
from vitdecomp.cli import main

main()
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A store with vectors of a CLIP, whose contributions they are not a linear map of."""
    place = tmp_path_factory.mktemp("shared")
    c = AlignerContract().contributions(N)
    noise = torch.randn(N, 8, generator=torch.Generator().manual_seed(5))
    store = written(place / "s.lance", c)
    store.add_vectors(CLIP, AlignerContract().target(c) + noise)
    (place / "script.py").write_text(SCRIPT)
    return place


def words(out, *more):
    return ("align", "random:made", "--clip", CLIP, "--store", "s.lance", "--out", out, *more)


def started(place, count, *arguments, restarts=0):
    launch = (*TORCHRUN, str(count), "--max-restarts", str(restarts), *arguments)
    return subprocess.Popen(launch, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENV)


ENV = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_processes_learn_what_one_learns(place, in_process):
    """All methods in one launch: what takes long is to start Python."""
    script = place / "all.py"
    script.write_text(ALL)
    process = started(place, 2, script, json.dumps(METHODS))
    _, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    c, target = AlignerContract().contributions(N), Store(place / "s.lance").vectors(CLIP)[0]
    print(err)
