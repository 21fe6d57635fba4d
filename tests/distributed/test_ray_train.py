"""What workers of Ray Train send, and where they are placed; with a real cluster: `test_align_on_ray.py`."""

from dataclasses import dataclass

import pytest
from remote import attempt

from vitdecomp import RankError, SpecError
from vitdecomp.distributed.executor import Program
from vitdecomp.distributed.ray_train import Placement


@dataclass(frozen=True)
class Fails(Program):
    """A program that raises an error, or returns its output."""

    error: Exception | None = None

    @property
    def device(self):
        return "cpu"

    def resumed(self):
        return self

    def __call__(self, stage):
        with stage("working") as progress:
            progress(1, 1)
        if self.error is not None:
            raise self.error
        return {"answer": 42}


def test_an_output_is_sent():
    received = attempt(Fails())
    assert received.done
    assert received.output == {"answer": 42}
    assert received.error is None


def test_an_error_keeps_its_class_and_a_bug_its_traceback():
    refused = attempt(Fails(SpecError("no such thing")))
    assert not refused.done
    assert type(refused.error) is SpecError
    assert str(refused.error) == "no such thing"
    assert type(attempt(Fails(MemoryError("full"))).error) is MemoryError
    bug = attempt(Fails(ZeroDivisionError("1 / 0"))).error
    assert type(bug) is RuntimeError
    assert "Traceback" in str(bug)


def test_a_process_that_lost_the_others_does_not_end_the_run():
    received = attempt(Fails(RankError("another process of this run has ended")))
    assert not received.done
    assert received.error is None  # the next attempt may succeed


def test_a_worker_for_each_gpu_or_else_for_each_machine():
    with_gpus = [{"CPU": 16.0, "GPU": 2.0}, {"CPU": 9.0, "GPU": 4.0}, {"CPU": 64.0}, {"memory": 1.0}]
    assert Placement.on(with_gpus, "auto") == Placement(6, {"CPU": 2.0, "GPU": 1.0}, spread=False)
    assert Placement.on(with_gpus, "cpu") == Placement(3, {"CPU": 9.0}, spread=True)
    with pytest.raises(RankError, match="no machine of the Ray cluster has a CPU"):
        Placement.on([{"memory": 1.0}], "auto")
