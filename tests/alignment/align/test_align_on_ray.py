"""A Ray of two nodes aligns as one process does, even if one of them is killed."""

import importlib.util
import json
import sys
import time
from dataclasses import replace

import pytest
from made_up import write_pairs
from remote import attempt
from two_nodes import started, two_nodes
from vitdecomp_alignment.align.alignments import training_file
from vitdecomp_alignment.align.pairs import Pairing
from vitdecomp_alignment.align.program import AlignConfig, AlignResult
from vitdecomp_alignment.aligners import maps_file

from vitdecomp import SpecError, Store
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
    process = started(place, *words(out.name, *LONG, "--json", "--executor", "ray", "--address", address))
    while not training_file(out).exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.001)
    kill()
    told, err = process.communicate(timeout=600)
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
def config(place):
    pairing = Pairing(
        ModelOptions("random:made"), ModelOptions("made:clip"), place / "cache", None, str(place / "s.lance")
    )
    return AlignConfig(pairing, Loading(), place / "maps.safetensors", "closed-form")


def test_a_process_sends_what_it_fitted(config):
    assert isinstance(attempt(config).output, AlignResult)
    assert config.out.exists()


def test_a_process_sends_what_went_wrong(config):
    other = replace(config, pairing=replace(config.pairing, subject=ModelOptions("random:other")))
    error = attempt(other).error
    assert type(error) is SpecError
    assert str(error).endswith("holds contributions of random:made, not of random:other")


def test_what_cannot_work_is_one_line(place, in_process, monkeypatch):
    refused = {
        ("--address", "localhost:1"): "error: --address requires --executor ray\n",
        ("--executor", "rya"): "error: no executor 'rya'; did you mean ray?\n",
        ("--executor", "ray", "--address", "localhost:1"): "error: there is no Ray cluster at localhost:1: ",
        ("--executor", "ray", "--method", "closed"): "error: no aligner 'closed'",
    }
    for flags, said in refused.items():
        done = in_process(place, *words("none.safetensors", *flags))
        assert done.returncode == 2
        assert done.stderr.startswith(said)
        assert done.stderr.count("\n") == 1
    with monkeypatch.context() as under_torchrun:
        under_torchrun.setenv("RANK", "0")
        under_torchrun.setenv("WORLD_SIZE", "2")
        done = in_process(place, *words("none.safetensors", "--executor", "ray"))
        assert done.stderr == "error: --executor ray cannot run under torchrun: Ray starts its own processes\n"
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    done = in_process(place, *words("none.safetensors", "--executor", "ray"))
    assert done.returncode == 2
    assert done.stderr == "error: --executor ray requires Ray: pip install 'vitdecomp[ray]'\n"
    assert not (place / "none.safetensors").exists()
