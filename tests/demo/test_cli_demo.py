"""`vitdecomp demo` as its users run it."""

import json

import networkx as nx
import pytest
from commands import in_process
from forks import Fork, source
from PIL import Image

OFFLINE = "import socket; socket.socket.connect = None; from vitdecomp.cli.main import main; main()"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    place = tmp_path_factory.mktemp("photos")
    for i in range(5):
        Image.linear_gradient("L").convert("RGB").rotate(30 * i).save(place / f"{i}.png")
    return place


@pytest.mark.slow
def test_a_model_and_pictures_of_ones_own(photos, tmp_path):
    own = ("--model", "timm:test_vit", "--random-weights", "--images", photos, "--out", tmp_path / "demo", "--json")
    fork = Fork(source, OFFLINE, "demo", *own, COLUMNS="100")
    out, err = fork.communicate()
    assert fork.returncode == 0, err
    summary = json.loads(out)
    assert summary == json.loads((tmp_path / "demo" / "summary.json").read_text())
    assert set(summary["sections"]) == {"world", "decompose"}
    lines = err.splitlines()
    assert [line.split("  ")[0] for line in lines][:2] == ["pictures", "timm:test_vit"]
    assert all(line.endswith(" s") for line in lines)
    assert "Left out" in (tmp_path / "demo" / "report.html").read_text()
    assert nx.is_directed_acyclic_graph(nx.read_graphml(tmp_path / "demo" / "paths.graphml"))


@pytest.mark.slow
def test_without_a_folder_the_findings_are_printed(photos, tmp_path):
    done = in_process(tmp_path, "demo", "--model", "timm:test_vit", "--random-weights", "--images", photos, "--quiet")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "weights are random" in done.stdout
    assert "equals the model’s own output" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--images {place}/nowhere", "no file or folder"),
        ("--images {place}/empty --model scenes:deit --random-weights", "no images in"),
        ("--images {place}/broken --model scenes:deit --random-weights", "cannot read image"),
        ("--model scenes:diet --random-weights --images {photos}", "did you mean deit"),
    ],
)
def test_errors_are_one_line_and_leave_nothing_behind(photos, tmp_path, flags, words):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_text("no picture")
    given = flags.format(place=tmp_path, photos=photos).split()
    done = in_process(tmp_path, "demo", *given, "--out", tmp_path / "out", "--quiet")
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert words in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    done = in_process(tmp_path, "demo", "--out", tmp_path / "file" / "demo")
    assert done.returncode == 2
    assert "not a directory" in done.stderr
