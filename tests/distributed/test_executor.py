"""Executors by name, and what every executor does with a task and a program."""

import importlib.util
import subprocess
import sys
from importlib.metadata import EntryPoint

import doubles
import pytest
from doubles import Doubles
from PIL import Image
from project import PROJECT

import vitdecomp as vd
from vitdecomp._utils import registry
from vitdecomp._utils.progress import unseen
from vitdecomp.distributed import remote_error
from vitdecomp.distributed.executor import GROUP, executor
from vitdecomp.distributed.local import LocalExecutor
from vitdecomp.distributed.process_group import Ranks


def test_one_group_of_entry_points_serves_extract_and_align():
    declared = PROJECT["entry-points"]
    assert set(declared[GROUP]) == {"local", "ray"}
    assert not [group for group in declared if group.endswith("engines")]
    assert isinstance(executor("local"), LocalExecutor)


def test_an_unknown_executor_and_a_needless_address_are_refused():
    with pytest.raises(vd.SpecError, match=r"no executor 'rya'; did you mean ray\?"):
        executor("rya")
    with pytest.raises(vd.SpecError, match=r"^--address requires --executor ray$"):
        executor("local", "localhost:1")


def test_what_is_no_executor_is_refused(monkeypatch):
    found = [EntryPoint("mine", "builtins:str", GROUP)]
    monkeypatch.setattr(registry, "entry_points", lambda group: found if group == GROUP else [])
    with pytest.raises(vd.SpecError, match=r"executor 'mine' is no .*Executor`: update its package"):
        executor("mine", "x")


def test_the_old_spelling_of_the_flag_works_and_is_not_shown(in_process, tmp_path):
    for command in ("extract", "align"):
        help_text = in_process(tmp_path, command, "--help").stdout
        assert "--executor" in help_text
        assert "--engine" not in help_text
    Image.new("RGB", (8, 8)).save(tmp_path / "one.png")
    words = ["extract", "scenes:deit", "--images", ".", "--out", "s.lance"]
    for flag in ("--executor", "--engine"):
        done = in_process(tmp_path, *words, flag, "rya")
        assert (done.returncode, done.stderr) == (2, "error: no executor 'rya'; did you mean ray?\n")


def test_each_process_takes_its_shard():
    items = [[i] for i in range(1, 6)]
    shards = [list(LocalExecutor().map(Doubles(), items, Ranks(rank, 2))) for rank in range(2)]
    assert shards == [[([1], [2]), ([3], [6]), ([5], [10])], [([2], [4]), ([4], [8])]]
    assert LocalExecutor().slots(Ranks(1, 2)) == 2
    assert LocalExecutor().slots(Ranks()) == 1


def test_a_program_is_called():
    assert LocalExecutor().run(lambda stage: stage is unseen, unseen)


@pytest.mark.parametrize(
    "error", [vd.SpecError("a"), vd.DamageError("b"), vd.InexactError("c"), vd.NoRuleError("aten.roll", "m", "roll_2")]
)
def test_errors_of_other_processes_keep_class_and_text(error):
    decoded = remote_error.decode(*remote_error.encode(error))
    assert isinstance(decoded, vd.VitdecompError)
    assert str(decoded) == str(error)
    assert type(decoded) is type(error) or isinstance(error, vd.NoRuleError)  # whose text is made of its parts


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not there for this Python")
@pytest.mark.xdist_group("ray")
def test_ray_does_what_local_does():
    """In a process of its own, since Ray forks and Lance, which other tests use, warns of that.

    It takes 15 seconds alone, and minutes where other tests keep all cores busy while Ray starts its workers.
    """
    done = subprocess.run([sys.executable, doubles.__file__], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
