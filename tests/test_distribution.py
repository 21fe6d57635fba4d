"""The wheel as users get it: small, complete, with nothing that is not theirs, and licensed down to the last file."""

import re
import subprocess
import sys
import tarfile
from email import message_from_bytes
from fnmatch import fnmatchcase
from zipfile import ZipFile

import pytest
import yaml
from project import PROJECT, ROOT

import vitdecomp as vd

MOST = 30_000_000  # bytes of the wheel
PACKAGES = {"vitdecomp", "vitdecomp_adapters", "vitdecomp_alignment"}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Folder with a wheel and a source distribution."""
    place = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", str(place)], cwd=ROOT, check=True, timeout=240)
    return place


@pytest.fixture(scope="module")
def wheel(built):
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def files(wheel):
    with ZipFile(wheel) as archive:
        return [name for name in archive.namelist() if not name.endswith("/")]


def test_the_wheel_is_small(wheel):
    size = wheel.stat().st_size
    assert size <= MOST
    told = re.search(r"The wheel has (\d+) MB", (ROOT / "docs" / "licenses.md").read_text(encoding="utf-8"))
    assert told
    assert abs(size / 1e6 - int(told[1])) < 1


def test_the_wheel_holds_the_packages_and_their_data_and_nothing_else(files):
    tops = {name.split("/")[0] for name in files}
    assert tops - {f"vitdecomp-{PROJECT['version']}.dist-info"} == PACKAGES
    for room in ("vitdecomp", "adapters/vitdecomp_adapters", "alignment/vitdecomp_alignment"):
        base = (ROOT / room).parent
        own = {path.relative_to(base).as_posix() for path in (ROOT / room).rglob("*") if path.is_file()}
        own = {name for name in own if "__pycache__" not in name}
        assert own <= {*files}


def test_every_file_of_data_has_a_license(files):
    """The first table of the page names each by a pattern or a folder."""
    table = (ROOT / "docs" / "licenses.md").read_text(encoding="utf-8").split("## Dependencies")[0]
    named = [word for line in table.splitlines() if line.startswith("| `") or "`*." in line for word in _names(line)]
    data = [name for name in files if ".dist-info/" not in name and not name.endswith((".py", "py.typed"))]
    assert len(data) > 100
    for name in data:
        assert any(fnmatchcase(name, pattern) for pattern in named), name
    assert not any(fnmatchcase("vitdecomp/other.bin", pattern) for pattern in named)


def _names(line):
    first, *rest = re.findall(r"`([^`]+)`", line.split("|")[1])
    folder = first.rpartition("/")[0]
    for name in (first, *rest):
        whole = name if "/" in name.rstrip("/") or not folder else f"{folder}/{name}"
        yield whole + "*" if whole.endswith("/") else whole


def test_the_metadata_are_those_of_the_project(wheel, files):
    with ZipFile(wheel) as archive:
        (name,) = [name for name in files if name.endswith(".dist-info/METADATA")]
        told = message_from_bytes(archive.read(name))
        assert [name for name in files if name.endswith("licenses/LICENSE")]
    assert told["Version"] == PROJECT["version"] == vd.__version__
    assert told["License-Expression"] == "Apache-2.0"
    assert told["Requires-Python"] is not None


def test_the_version_is_told_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == PROJECT["version"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## \[(\d[^\]]*)\] - (\d{4}-\d{2}-\d{2})$", changelog, re.MULTILINE)
    assert versions[0] == (PROJECT["version"], str(citation["date-released"]))


def test_the_source_distribution_can_be_built_and_tested_from(built):
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    assert {"Makefile", "pyproject.toml", "constraints.txt", "tests/conftest.py", "SECURITY.md", "LICENSE"} <= names
    assert not [name for name in names if re.match(r"\.venv|dist/|site/|\.git/|uv\.lock", name)]


def test_every_dependency_has_a_license_on_the_page():
    page = (ROOT / "docs" / "licenses.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| ([\w.-]+) \| ([^|]+) \|", page.split("<!-- dependencies:begin -->")[1], re.MULTILINE))
    extras = PROJECT["optional-dependencies"]
    users = [extras[name] for name in ("app", "datasets", "frames", "index", "masks", "quantized", "ray")]
    for line in sum(users, PROJECT["dependencies"]):
        name = re.match(r"[\w.-]+", line)[0].lower().replace("_", "-")
        assert rows.get(name, "UNKNOWN") not in ("UNKNOWN", "not in its metadata"), name
