"""The package of plug-ins in docs/examples is installed as a stranger's, keeps its contracts, and is found by name."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import succeeded
from forks import Fork, source

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "vitdecomp-tessera"
INSTALL = [
    "-m",
    "pip",
    "--isolated",
    "install",
    "--quiet",
    "--no-deps",
    "--no-build-isolation",
    "--no-index",
    "--target",
]
PROGRAM = """
import runpy, sys
site, *sys.argv = sys.argv[1:]
sys.path[:0] = [site, ""]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
MODEL = "tessera:small", "--random-weights"
pytestmark = pytest.mark.xdist_group("plugins")  # which are installed once


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder of installed packages beside the environment's own."""
    place = tmp_path_factory.mktemp("plugins") / "site"
    shutil.copytree(EXAMPLE, place.with_name("source"), ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([sys.executable, *INSTALL, place, place.with_name("source")], check=True, timeout=120)
    return place


def python_m(site, place, *words):
    """Be `python -m WORDS` with the packages of a folder."""
    fork = Fork(source, PROGRAM, site, *words, cwd=place)
    out, err = fork.communicate()
    return subprocess.CompletedProcess(words, fork.returncode, out, err)


def run(site, place, *words):
    """Be the command."""
    return python_m(site, place, "vitdecomp", *words)


def test_its_own_tests_pass(site):
    place = site.with_name("source")
    done = python_m(site, place, "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist")
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


def test_its_models_are_listed_and_decomposed_by_its_rule(site, tmp_path):
    listed = succeeded(run(site, tmp_path, "models", "tessera:*"))
    assert [line.split()[0] for line in listed.stdout.splitlines()] == ["tessera:small", "tessera:large"]
    report = " ".join(succeeded(run(site, tmp_path, "inspect", *MODEL)).stdout.split())
    assert "sum exact" in report
    assert "coverage complete" in report
    assert "shift_tokens 2" in report


def test_its_explainer_and_its_aligner_are_found_by_name(site, tmp_path):
    shown = succeeded(run(site, tmp_path, "explain", *MODEL, "--methods", "erase", "--limit", "1", "--quiet"))
    assert "erase" in shown.stdout
    succeeded(run(site, tmp_path, "scenes", "--out", "photos", "--n", "24", "--quiet"))
    words = ("--clip", "scenes:clip", "--images", "photos", "--method", "ridge", "--set", "strength=.1")
    fitted = succeeded(run(site, tmp_path, "align", *MODEL, *words, "--out", "maps.safetensors", "--quiet"))
    assert "Ridge of 18 components of tessera:small" in fitted.stdout
    assert (tmp_path / "maps.safetensors").exists()


def test_without_the_package_none_of_it_is_there(tmp_path):
    done = run(tmp_path, tmp_path, "inspect", *MODEL)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no adapter 'tessera'" in done.stderr


BROKEN = """
[vitdecomp.commands]
worse = worse
[vitdecomp.explainers]
worse = worse
[vitdecomp.adapters]
worse = worse
"""


def test_a_package_that_cannot_be_imported_stops_no_command_but_its_own(tmp_path):
    metadata = tmp_path / "worse-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: vitdecomp-worse\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(BROKEN)
    (tmp_path / "worse.py").write_text("import a_library_that_is_missing")
    listed = succeeded(run(tmp_path, tmp_path, "models", "deit"))
    assert "scenes:deit" in listed.stdout.split()
    reason = "of package vitdecomp-worse cannot be imported (ModuleNotFoundError: No module named"
    told = listed.stderr.splitlines()
    assert [line.partition(reason)[0] for line in told] == [
        "note: plug-in 'worse' (vitdecomp.commands) ",
        "note: plug-in 'worse' (vitdecomp.adapters) ",
    ]
    asked = run(tmp_path, tmp_path, "explain", "scenes:deit", "--methods", "worse", "--limit", "1")
    assert asked.returncode == 2
    assert asked.stderr.splitlines()[-1].startswith(f"error: plug-in 'worse' (vitdecomp.explainers) {reason}")
    loaded = run(tmp_path, tmp_path, "inspect", "worse:model")
    assert loaded.stderr.splitlines()[-1].startswith(f"error: plug-in 'worse' (vitdecomp.adapters) {reason}")
