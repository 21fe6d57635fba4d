"""The command, as its users run it or, to save the time to import everything, in this process."""

import io
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from forks import Fork, command

COMMAND = str(Path(sys.executable).with_name("vitdecomp"))


def in_process(place, *words, columns=120):
    """The command in this process and in a folder. Every verb is also run as its users run it."""
    from vitdecomp.cli.main import main  # not before shape annotations are checked

    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(place)
        for own in Path(place).glob("*.py"):  # a module of another test's folder may have this name
            known = getattr(sys.modules.get(own.stem), "__file__", None)
            if known is not None and Path(known).resolve() != own.resolve():
                patch.delitem(sys.modules, own.stem)
        patch.setenv("COLUMNS", str(columns))
        patch.setattr(sys, "argv", ["vitdecomp", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
    return subprocess.CompletedProcess(words, int(ended.value.code or 0), out.getvalue(), err.getvalue())


def launched(place, *words, columns=120):
    """The command in a process of its own."""
    fork = Fork(command, *words, cwd=place, COLUMNS=str(columns))
    out, err = fork.communicate()
    return subprocess.CompletedProcess(words, fork.returncode, out, err)


def succeeded(done, code=0):
    """What a command has printed, which has ended as it should."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done
