"""Several processes align as one would, and a killed one costs no more than what was done since the checkpoint."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest
from forks import Fork, command, source, torchrun
from made_up import write_pairs
from vitdecomp_alignment.aligners import maps_file
from vitdecomp_alignment.aligners.settings import make_aligner

from vitdecomp import Store

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("shared-alignment")]
CLIP, N = "made:clip", 500
LONG = ("--set", "epochs=20", "--set", "patience=100000", "--set", "learning_rate=0.0001", "--set", "init=random")
METHODS = {
    "closed form": ("closed-form",),
    "few images": ("closed-form", "max_rank=300"),
    "trained": ("compalign", "epochs=3"),
    "from nothing": ("compalign", "epochs=3", "init=random", "batch_size=31"),
    "whole space": ("compalign", "epochs=2", "coordinates=full", "bias=true"),
    "as the public code": ("compalign", "epochs=2", "penalty=mean_square", "orthogonality=1.0"),
    "orthogonal": ("compalign", "epochs=2", "orthogonality=hard"),
    "one map": ("linear", "epochs=2"),
}
ALL = """
import json, sys
from vitdecomp import Store
from vitdecomp.distributed.process_group import ranks
from vitdecomp_alignment.aligners.settings import make_aligner

store = Store("s.lance")
target = store.vectors("made:clip")[0]
with ranks() as mine:
    for name, (method, *settings) in json.loads(sys.argv[1]).items():
        few = 20 if name == "few images" else len(store)
        source = store if few == len(store) else store.take(range(few))
        aligner = make_aligner(method, 0, settings).fit(source, target[:few], ranks=mine)
        aligner.save(f"{name}-{mine.rank}.safetensors")
"""
KILLABLE = """
import os
from pathlib import Path

Path(f"pid-{os.environ['RANK']}").write_text(str(os.getpid()))
from vitdecomp.cli.main import main

main()
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A store, with vectors of a CLIP that are not quite what any map makes of its contributions."""
    place = tmp_path_factory.mktemp("shared")
    write_pairs(place / "s.lance", N)
    return place


def words(out, *more):
    return ("align", "random:made", "--clip", CLIP, "--store", "s.lance", "--out", out, *more)


def started(place, *arguments, restarts=0):
    return Fork(torchrun, restarts, *arguments, cwd=place)


def done(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


def test_all_processes_learn_what_one_learns(place):
    done(started(place, source, ALL, json.dumps(METHODS)))
    store = Store(place / "s.lance")
    c, target = store.take(range(N)), store.vectors(CLIP)[0]
    for name, (method, *settings) in METHODS.items():
        files = [place / f"{name}-{rank}.safetensors" for rank in range(2)]
        assert files[0].read_bytes() == files[1].read_bytes(), name
        held = maps_file.read(files[0])
        few = 20 if name == "few images" else N
        alone = make_aligner(method, 0, settings).fit(store if few == N else c.take(range(few)), target[:few])
        wanted = alone.transform(c).values
        moved = held.maps(c).values - wanted
        assert float(moved.norm() / wanted.norm()) < 1e-3, name
        assert held.metrics == pytest.approx(alone.metrics_, rel=1e-3, abs=1e-6), name


@pytest.fixture(scope="module")
def uninterrupted(place):
    """What two processes say, and the maps that they write, when nobody disturbs them."""
    told = json.loads(done(started(place, command, *words("whole.safetensors", *LONG, "--json"))))
    return told, (place / "whole.safetensors").read_bytes()


def test_one_process_speaks_for_all(place, uninterrupted, in_process):
    told, _ = uninterrupted
    assert told["metrics"]["steps"] == 20 * 13  # of 405 images: a tenth judges the maps, a tenth of the rest stops
    assert {"contributions of random:made", "vectors of made:clip", "reading", "training", "writing"} <= {
        *told["seconds"]
    }
    alone = in_process(place, *words("alone.safetensors", *LONG, "--json"))
    assert alone.returncode == 0
    assert json.loads(alone.stdout)["metrics"] == pytest.approx(told["metrics"], rel=1e-2)


def test_a_process_is_killed(place, uninterrupted):
    """Torchrun ends the other and starts the same command again, which goes on at the checkpoint."""
    out, name = place / "killed.safetensors", "killed.safetensors"
    training = place / f"{name}.training"
    process, end = started(place, source, KILLABLE, *words(name, *LONG), restarts=1), time.monotonic() + 200
    while not training.exists():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.001)
    os.kill(int((place / "pid-1").read_text()), signal.SIGKILL)
    done(process)
    assert out.read_bytes() == uninterrupted[1]
    assert not training.exists()
