"""A Ray of two nodes aligns as one process does, even if one of them is killed."""

import importlib.util
import json
import queue
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from made_up import write_pairs
from two_nodes import started, two_nodes
from vitdecomp_alignment.align import on_ray
from vitdecomp_alignment.align.alignments import training_file
from vitdecomp_alignment.align.job import Alignment, Job
from vitdecomp_alignment.align.messages import Heard, Shown
from vitdecomp_alignment.align.on_ray import Order, Processes, in_process_of_ray
from vitdecomp_alignment.align.pairs import Pairing
from vitdecomp_alignment.aligners import maps_file

from vitdecomp import RankError, SpecError, Store
from vitdecomp._utils.progress import unseen
from vitdecomp.models.image_loader import Loading
from vitdecomp.models.prepare import ModelOptions

N = 500
LONG = ("--set", "epochs=20", "--set", "patience=100000", "--set", "learning_rate=0.0001", "--set", "init=random")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("on-ray")
    write_pairs(place / "s.lance", N)
    return place


@pytest.fixture
def cluster(place):
    """Its address, and what kills one of its nodes."""
    with two_nodes(place / "elsewhere") as nodes:
        yield nodes


def words(out, *more, model="random:made"):
    return ("align", model, "--clip", "made:clip", "--store", "s.lance", "--out", out, *more)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not there for this Python")
@pytest.mark.xdist_group("ray")
def test_a_node_is_killed(place, cluster, in_process):
    address, kill = cluster
    out, end = place / "killed.safetensors", time.monotonic() + 200
    process = started(place, *words(out.name, *LONG, "--json", "--engine", "ray", "--address", address))
    while not training_file(out).exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.001)
    kill()
    told, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert "processes on Ray 2 of 2" in err
    assert "processes on Ray 1 of 2" in err
    assert "\ntraining 1 of 300\n" not in err.split("1 of 2")[1]  # not from the beginning
    assert not training_file(out).exists()
    alone = in_process(place, *words("alone.safetensors", *LONG, "--json"))
    found, wanted = json.loads(told), json.loads(alone.stdout)
    assert found["metrics"] == pytest.approx(wanted["metrics"], rel=1e-2)
    assert found["seconds"].keys() == wanted["seconds"].keys()
    c = Store(place / "s.lance").take(range(N))
    one, other = (maps_file.read(place / name).maps(c).values for name in (out.name, "alone.safetensors"))
    assert float((one - other).norm() / other.norm()) < 1e-3


@pytest.fixture
def job(place):
    pairing = Pairing(
        ModelOptions("random:made"), ModelOptions("made:clip"), place / "cache", None, str(place / "s.lance")
    )
    return Job(pairing, Loading(), place / "maps.safetensors", "closed-form")


def heard(job):
    """What the caller hears of a process that Ray Train would have started."""
    mail, hears = queue.Queue(), Heard(Shown(unseen))
    with suppress(Exception):  # so that Ray Train ends the others
        in_process_of_ray({"order": Order(job, Path.cwd(), mail)})
    while not mail.empty():
        hears(*mail.get())
    return hears


def test_a_process_tells_what_it_made(job):
    assert isinstance(heard(job).alignment, Alignment)
    assert job.out.exists()


def test_a_process_tells_what_went_wrong(job, monkeypatch):
    other = replace(job, pairing=replace(job.pairing, subject=ModelOptions("random:other")))
    error = heard(other).error
    assert type(error) is SpecError
    assert str(error).endswith("holds contributions of random:made, not of random:other")
    monkeypatch.setattr(on_ray, "work", lambda job, stage: 1 / 0)
    broken = heard(job)  # what nobody foresaw is shown whole
    assert type(broken.error) is RuntimeError
    assert "Traceback" in str(broken.error)


def test_a_process_for_each_gpu_or_else_for_each_machine():
    with_gpus = [{"CPU": 16.0, "GPU": 2.0}, {"CPU": 9.0, "GPU": 4.0}, {"CPU": 64.0}, {"memory": 1.0}]
    assert Processes.on(with_gpus, "auto") == Processes(6, {"CPU": 2.0, "GPU": 1.0}, apart=False)
    assert Processes.on(with_gpus, "cpu") == Processes(3, {"CPU": 9.0}, apart=True)
    with pytest.raises(RankError, match="no machine of the Ray cluster has a CPU"):
        Processes.on([{"memory": 1.0}], "auto")


def test_what_cannot_work_is_one_line(place, in_process, monkeypatch):
    refused = {
        ("--address", "localhost:1"): "error: --address is that of a cluster: add --engine ray\n",
        ("--engine", "rya"): "error: no engine 'rya'; did you mean ray?\n",
        ("--engine", "ray", "--address", "localhost:1"): "error: there is no Ray cluster at localhost:1: ",
        ("--engine", "ray", "--method", "closed"): "error: no aligner 'closed'",
    }
    for flags, said in refused.items():
        done = in_process(place, *words("none.safetensors", *flags))
        assert done.returncode == 2
        assert done.stderr.startswith(said)
        assert done.stderr.count("\n") == 1
    with monkeypatch.context() as under_torchrun:
        under_torchrun.setenv("RANK", "0")
        under_torchrun.setenv("WORLD_SIZE", "2")
        done = in_process(place, *words("none.safetensors", "--engine", "ray"))
        assert done.stderr == "error: --engine ray starts processes of its own: leave torchrun out\n"
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    done = in_process(place, *words("none.safetensors", "--engine", "ray"))
    assert done.returncode == 2
    assert done.stderr == "error: --engine ray needs Ray: pip install 'vitdecomp[ray]'\n"
    assert not (place / "none.safetensors").exists()
