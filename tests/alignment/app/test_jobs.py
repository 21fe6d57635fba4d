"""Jobs run one after another, tell how far they are, and stop when they are told to."""

import threading

import pytest
from vitdecomp_alignment.app import jobs as module
from vitdecomp_alignment.app.jobs import UNEXPECTED, BusyError, JobQueue

from vitdecomp.errors import InputError, SpecError


@pytest.fixture
def queue():
    queue = JobQueue()
    yield queue
    queue.close()


def ended(job):
    assert job.ended.wait(10)
    return job.to_json()


def test_one_runs_at_a_time_in_order(queue):
    gate, order = threading.Event(), []

    def work(name):
        def run(stage):
            assert gate.wait(10)
            order.append(name)
            return name

        return run

    several = [queue.submit(name, work(name)) for name in "abc"]
    assert several[2].to_json()["state"] == "waiting"
    assert several[2].to_json()["result"] is None
    gate.set()
    assert [ended(job)["result"] for job in several] == ["a", "b", "c"]
    assert order == ["a", "b", "c"]


def test_equal_jobs_are_one_unless_they_failed_or_were_cancelled(queue):
    first = queue.submit("same", lambda stage: 1)
    ended(first)
    assert queue.submit("same", lambda stage: 2) is first
    assert queue.submit("other", lambda stage: 3) is not first

    def fail(stage):
        raise InputError("two\nlines")

    failed = queue.submit("bad", fail)
    assert ended(failed)["error"] == "two lines"
    assert failed.state == "failed"
    assert ended(queue.submit("bad", lambda stage: 4))["result"] == 4


def test_one_that_runs_stops_at_its_next_step_and_one_that_waits_at_once(queue):
    begun, reached = threading.Event(), []

    def work(stage):
        with stage("counting") as progress:
            for i in range(10**9):
                progress(i, 10**9)
                begun.set()
        reached.append("the end")

    runs, waits = queue.submit(1, work), queue.submit(2, lambda stage: "never")
    assert begun.wait(10)
    told = runs.to_json()
    assert (told["state"], told["stage"], told["total"]) == ("running", "counting", 10**9)
    assert queue.cancel(waits.id).state == "cancelled"
    queue.cancel(runs.id)
    assert ended(runs)["state"] == "cancelled"
    assert not reached
    assert ended(queue.submit(3, lambda stage: "on"))["result"] == "on"


def test_a_bug_is_logged_and_not_told(queue, caplog):
    def broken(stage):
        raise RuntimeError("secret path /home/me")

    assert ended(queue.submit("bug", broken))["error"] == UNEXPECTED
    assert "secret path" in caplog.text


def test_too_many_are_refused_and_old_ones_forgotten(queue, monkeypatch):
    monkeypatch.setattr(module, "WAITING", 2)
    monkeypatch.setattr(module, "KEPT", 3)
    gate, begun = threading.Event(), threading.Event()

    def held(stage):
        begun.set()
        return gate.wait(10)

    first = queue.submit("held", held)
    assert begun.wait(10)
    others = [queue.submit(i, lambda stage: None) for i in range(2)]
    with pytest.raises(BusyError, match="2 jobs wait already"):
        queue.submit("more", lambda stage: None)
    gate.set()
    ended(others[-1])
    for i in range(5):
        ended(queue.submit(("new", i), lambda stage: None))
    with pytest.raises(SpecError, match="there is no job"):
        queue.of(first.id)
