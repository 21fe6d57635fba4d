"""`vitdecomp` alone says what to do first, in words that its commands understand."""

import re
import shlex

import pytest
import typer
from commands import in_process, launched

from vitdecomp.cli.first_steps import FIRST_STEPS
from vitdecomp.cli.main import app

LINES = re.findall(r"^  (vitdecomp .*?)(?: {2,}.*)?$", FIRST_STEPS, re.MULTILINE)


def test_alone_it_says_so_in_a_process_of_its_own(tmp_path):
    done = launched(tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, FIRST_STEPS, "")
    assert max(map(len, done.stdout.splitlines())) <= 120


def test_help_is_still_there(tmp_path):
    done = in_process(tmp_path, "--help")
    assert done.returncode == 0
    assert done.stdout != FIRST_STEPS


@pytest.mark.parametrize("line", LINES)
def test_every_line_is_a_command_with_flags_that_it_has(line):
    _, name, *words = shlex.split(line)
    command = typer.main.get_command(app).commands[name]
    command.make_context(name, words)  # raises a usage error


def test_a_wrong_flag_would_be_noticed():
    assert len(LINES) == 10
    with pytest.raises(Exception, match="No such option"):
        typer.main.get_command(app).commands["debias"].make_context("debias", ["m", "--no-such-flag"])
