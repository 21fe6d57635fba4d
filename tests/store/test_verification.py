"""`vitdecomp verify` reads all of a store, and names what is damaged."""

import json
import shutil

import lance
import pytest
from lance.file import LanceFileReader
from made_up import flip, write

import vitdecomp as vd
from vitdecomp.store.encoding import PRECISIONS
from vitdecomp.store.verification import verify


@pytest.fixture
def place(tmp_path):
    write(tmp_path / "s", range(0, 60, 10))
    return tmp_path / "s"


def data_file(place, table="images.lance"):
    (path,) = (place / table / "data").iterdir()
    return path


def forget(place):
    """What stores of older versions do not have."""
    lance.dataset(f"{place}/images.lance").delete_config_keys(["seal", "checksums"])


def test_a_whole_store_is_told_in_figures(place):
    seen = []
    found = verify(place, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(60, 60)]
    assert (found.images, found.components, found.dimension, found.precision) == (60, 7, 16, "float16")
    assert (found.files, found.unknown, found.unfinished) == (2, 0, False)
    assert found.error == 1e-7
    assert 1e-5 < found.total_loss <= 2 * PRECISIONS["float16"].promise
    assert 1e-5 < found.loss <= PRECISIONS["float16"].promise


@pytest.mark.parametrize("table", ["images.lance", "bases.lance"])
def test_a_damaged_file_is_named_with_exit_code_2(place, tmp_path, in_process, table):
    path = data_file(place, table)
    flip(path, path.stat().st_size // 2)
    done = in_process(tmp_path, "verify", "s", "--quiet")
    assert done.returncode == 2
    assert path.name in done.stderr
    assert "its checksum differs" in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout


def test_a_store_without_checksums_says_so_and_its_sums_are_compared(place, tmp_path, in_process):
    forget(place)
    done = in_process(tmp_path, "verify", "s", "--quiet")
    assert done.returncode == 0, done.stderr
    assert "no checksums recorded: not verified" in done.stdout
    path = data_file(place)
    told = LanceFileReader(str(path)).metadata()
    numbers = told.columns[told.schema.names.index("component_2_0")].pages[0].buffers[-1]
    for where in range(numbers.position + 101, numbers.position + 1800, 300):
        flip(path, where, 2)  # the highest bits of some coefficient
        with pytest.raises(vd.DamageError, match=r"image \d+\.png \(row \d+\) do not add up to its representation"):
            verify(place)
        flip(path, where, 2)
    assert verify(place).unknown == 2


def test_an_unfinished_append_is_told(place, tmp_path, in_process):
    write(place, [60], finish=False)
    told = json.loads(in_process(tmp_path, "verify", "s", "--json", "--quiet").stdout)
    assert (told["images"], told["unfinished"], told["unknown"]) == (60, True, 0)
    assert "the last complete version" in in_process(tmp_path, "verify", "s").stdout
    shutil.rmtree(place / "images.lance" / "_refs")
    done = in_process(tmp_path, "verify", "s")
    assert done.returncode == 2
    assert "is not finished: run the same command again" in done.stderr


@pytest.mark.parametrize("name", ["nothing", "file"])
def test_what_is_no_store_is_one_line(tmp_path, in_process, name):
    (tmp_path / "file").write_text("none")
    done = in_process(tmp_path, "verify", name)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
