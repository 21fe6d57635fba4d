"""Training stops where the validation loss is least, and goes on after a kill as if nothing had happened."""

import json
import signal
import time
from dataclasses import asdict

import numpy as np
import pytest
import torch
from forks import Fork, source
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutated import mutated
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from vitdecomp_alignment import CompAlign
from vitdecomp_alignment.aligners.checkpoint import FORMAT, Checkpoint, State

from vitdecomp import VitdecompError
from vitdecomp._utils.tensor_file import sealed
from vitdecomp.testing import AlignerContract

SETTINGS = {"init": "random", "learning_rate": 0.01, "epochs": 6, "patience": 1000}


class Killed(Exception):
    pass


def data():
    c = AlignerContract().contributions()
    return c, AlignerContract().target(c)


def killed_at(step):
    def progress(done, total):
        if done == step:
            raise Killed

    return progress


@pytest.mark.parametrize("settings", [{}, {"orthogonality": "hard"}, {"bias": True, "coordinates": "full"}])
@pytest.mark.parametrize("step", [1, 23, 40])
def test_a_training_resumes_with_the_same_result(tmp_path, settings, step):
    c, target = data()
    whole = CompAlign(**SETTINGS, **settings).fit(c, target)
    file = tmp_path / "training.safetensors"
    for at in (step, step + 7):
        with pytest.raises(Killed):
            CompAlign(**SETTINGS, **settings).fit(c, target, checkpoint=file, progress=killed_at(at))
    resumed = CompAlign(**SETTINGS, **settings).fit(c, target, checkpoint=file)
    assert torch.equal(resumed.weights_, whole.weights_)
    assert resumed.history_ == whole.history_
    assert resumed.metrics_ == whole.metrics_


def test_a_finished_training_is_not_done_again(tmp_path):
    c, target = data()
    file = tmp_path / "training.safetensors"
    first = CompAlign(**SETTINGS).fit(c, target, checkpoint=file)
    steps = []
    again = CompAlign(**SETTINGS).fit(c, target, checkpoint=file, progress=lambda done, total: steps.append(done))
    assert len(steps) == 1
    assert torch.equal(first.weights_, again.weights_)


@pytest.mark.parametrize(
    "other", [{"orthogonality": 0.5}, {"random_state": 1}, {"batch_size": 16}, {"learning_rate": 0.02}]
)
def test_a_checkpoint_of_another_training_is_refused(tmp_path, other):
    c, target = data()
    file = tmp_path / "training.safetensors"
    CompAlign(**{**SETTINGS, "epochs": 1}).fit(c, target, checkpoint=file)
    before = file.read_bytes()
    with pytest.raises(VitdecompError, match="another training"):
        CompAlign(**{**SETTINGS, "epochs": 1, **other}).fit(c, target, checkpoint=file)
    for contributions, goal in ((c, target + 1e-3), (c.take(range(399, -1, -1)), target)):
        with pytest.raises(VitdecompError, match="another training"):
            CompAlign(**{**SETTINGS, "epochs": 1}).fit(contributions, goal, checkpoint=file)
    assert file.read_bytes() == before


def test_what_is_no_checkpoint_is_left_alone(tmp_path):
    c, target = data()
    file = tmp_path / "precious.safetensors"
    file.write_text("mine")
    with pytest.raises(VitdecompError, match="no checkpoint"):
        CompAlign(**SETTINGS).fit(c, target, checkpoint=file)
    assert file.read_text() == "mine"
    with pytest.raises(VitdecompError, match="no directory"):
        CompAlign(**SETTINGS).fit(c, target, checkpoint=tmp_path / "none" / "file")


def test_training_stops_when_nothing_gets_better_and_keeps_the_best():
    c, target = data()
    target = target[torch.randperm(len(c), generator=torch.Generator().manual_seed(0))]  # nothing to be learned
    aligner = CompAlign(init="random", learning_rate=0.05, epochs=1000, patience=15).fit(c, target)
    history = aligner.history_
    best = min(range(len(history)), key=lambda i: history[i]["smoothed"])
    assert history[-1]["step"] < 1000
    assert len(history) - 1 - best == 15
    assert aligner.metrics_["validation_distance"] == pytest.approx(history[best]["distance"], abs=1e-6)


def test_a_smoothed_loss_is_the_mean_of_the_last_five():
    c, target = data()
    history = CompAlign(**SETTINGS).fit(c, target).history_
    for i, row in enumerate(history):
        last = [r["validation"] for r in history[max(0, i - 4) : i + 1]]
        assert row["smoothed"] == pytest.approx(sum(last) / len(last))


def test_progress_is_told_step_by_step():
    c, target = data()
    told = []
    CompAlign(**{**SETTINGS, "epochs": 1}).fit(c, target, progress=lambda *now: told.append(now))
    assert told == [*((i, 12) for i in range(1, 13)), (12, 12)]


SCRIPT = """
import sys
from vitdecomp.testing import AlignerContract
from vitdecomp_alignment import CompAlign

c = AlignerContract().contributions()
CompAlign(init="random", learning_rate=1e-4, epochs=100_000, patience=10**9).fit(
    c, AlignerContract().target(c), checkpoint=sys.argv[1]
)
"""


def test_a_real_kill_leaves_a_whole_checkpoint(tmp_path):
    file = tmp_path / "training.safetensors"
    run = Fork(source, SCRIPT, file)
    try:
        deadline = time.monotonic() + 100
        while not file.exists():
            assert run.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.5)
    finally:
        run.send_signal(signal.SIGKILL)
        run.wait()
    with safe_open(file, framework="pt") as held:
        assert all(held.get_tensor(key) is not None for key in held.keys())  # noqa: SIM118 - not a dict


@pytest.fixture
def checkpoint(tmp_path):
    """A file that a training left when it was killed."""
    c, target = data()
    file = tmp_path / "training.safetensors"
    with pytest.raises(Killed):
        CompAlign(**SETTINGS).fit(c, target, checkpoint=file, progress=killed_at(23))
    return file


def resumed(file):
    c, target = data()
    return CompAlign(**SETTINGS).fit(c, target, checkpoint=file)


def rewritten(file, change=lambda header: header, **tensors):
    """The file with another header and other tensors, and a checksum that fits."""
    with safe_open(file, framework="pt") as held:
        header = json.loads(held.metadata()[FORMAT.key])
    header.pop("sha256")
    kept = {name: tensor for name, tensor in {**load_file(file), **tensors}.items() if tensor is not None}
    text = json.dumps(change(header))
    save_file(kept, file, {FORMAT.key: sealed(text, kept) if text.endswith("}") else text})


def test_one_flipped_bit_in_a_checkpoint_is_noticed(checkpoint):
    content, draw = checkpoint.read_bytes(), np.random.default_rng(0)
    header = 8 * (8 + int.from_bytes(content[:8], "little"))
    known = Checkpoint(checkpoint, FORMAT.read(checkpoint).header.training)
    for bit in map(int, [*draw.integers(0, header, 50), *draw.integers(header, 8 * len(content), 50)]):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        checkpoint.write_bytes(damaged)
        with pytest.raises(VitdecompError, match="delete it, or give another file"):
            known.read()
    checkpoint.write_bytes(content)
    assert known.read()[1].step > 0


def test_a_checkpoint_of_the_first_version_is_gone_on_with(checkpoint):
    whole = resumed(checkpoint).weights_
    held = FORMAT.read(checkpoint)
    state = json.dumps(asdict(held.header.state))
    save_file(held.tensors, checkpoint, {"training": held.header.training, "values": state})
    assert torch.equal(resumed(checkpoint).weights_, whole)


@pytest.mark.parametrize(
    ("change", "tensors", "told"),
    [
        ({"state": None}, {}, "state is null, not an object"),
        ({"state": {"step": -1}}, {}, "state.step is -1, not a number from 0"),
        ({"state": {"step": 3, "running": ["x"]}}, {}, r"state.running\[0\] is .x., not a number"),
        ({"training": 3}, {}, "training is 3, not a text"),
        ({"schema": 7}, {}, "has schema 7, .* update vitdecomp"),
        ({}, {"now.bias": torch.zeros(2)}, "now.bias of shape .* instead of None"),
        ({}, {"adam.0.exp_avg": torch.zeros(2)}, r"adam.0.exp_avg of shape \(2,\) instead of"),
        ({}, {"best.parts.0.weight": None}, "best.parts.0.weight of shape None instead of"),
        ({}, {"adam.x": torch.zeros(2)}, r"adam.x of shape"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(checkpoint, change, tensors, told):
    rewritten(checkpoint, lambda header: header | change, **tensors)
    with pytest.raises(VitdecompError, match=f"{told}.*delete it, or give another file"):
        resumed(checkpoint)


@given(data=st.data())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_header_says_the_state_is_the_same_or_refused(checkpoint, tmp_path, data):
    held, other = FORMAT.read(checkpoint), tmp_path / "other.safetensors"
    other.write_bytes(checkpoint.read_bytes())
    rewritten(other, lambda header: mutated(header, data))
    try:
        tensors, state = Checkpoint(other, held.header.training).read()
    except VitdecompError:
        return
    assert tensors.keys() == held.tensors.keys()
    assert isinstance(state, State)
    assert state.step >= 0
    assert all(type(value) is float for row in state.history for value in row.values())
