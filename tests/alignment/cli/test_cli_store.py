"""`vitdecomp align --store` as its users run it: on what `extract` wrote, with nothing made twice."""

import json

import pytest
import torch
from vitdecomp_alignment import Readout
from vitdecomp_alignment.aligners import maps_file
from vitdecomp_alignment.clip.space import ClipSpace

import vitdecomp as vd
from vitdecomp.scenes import SceneDataset

pytestmark = pytest.mark.xdist_group("alignment-cli-store")
N = 40
ALIGN = ("align", "scenes:deit", "--clip", "scenes:clip", "--store", "s.lance", "--cache", "cache", "--quiet")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Pictures, which are not stored in the order of their names."""
    place = tmp_path_factory.mktemp("store")
    SceneDataset(N, 3, "test").write(place / "scenes")
    return place


@pytest.fixture
def extracted(place, in_process):
    """A store without CLIP's vectors the first time, and with them later."""
    if not (place / "s.lance").exists():
        for limit in (10, N - 5):
            words = ("extract", "scenes:deit", "--images", "scenes", "--out", "s.lance", "--limit", limit, "--quiet")
            assert in_process(place, *words).returncode == 0
    return vd.Store(place / "s.lance")


def test_vectors_are_kept_and_then_images_are_not_needed(place, extracted, in_process):
    refused = in_process(place, *ALIGN, "--out", "none.safetensors")
    assert refused.returncode == 2
    assert "has no vectors 'scenes:clip' (give --images too" in refused.stderr
    words = ("--set", "epochs=2", "--json")
    first = in_process(place, *ALIGN, "--images", "scenes", "--out", "first.safetensors", *words)
    assert first.returncode == 0, first.stderr
    store = vd.Store(place / "s.lance")
    vectors, origin = store.vectors("scenes:clip")
    assert len(vectors) == N - 5
    wanted = ClipSpace("scenes:clip", device="cpu").encode_image([str(path) for path in store.paths])
    assert torch.allclose(torch.nn.functional.normalize(vectors, dim=1), wanted, atol=1e-4)
    version = sorted((place / "s.lance").rglob("*"))
    again = in_process(place, *ALIGN, "--out", "again.safetensors", *words)
    assert sorted((place / "s.lance").rglob("*")) == version
    assert (place / "first.safetensors").read_bytes() == (place / "again.safetensors").read_bytes()
    told = json.loads(again.stdout)
    assert {**told, "out": "", "seconds": 0} == {**json.loads(first.stdout), "out": "", "seconds": 0}
    assert maps_file.read(place / "again.safetensors").target == origin
    assert maps_file.read(place / "again.safetensors").settings["epochs"] == 2
    parts = {"contributions of scenes:deit", "vectors of scenes:clip", "checksum", "reading", "spans", "sums"}
    assert parts | {"solving", "training", "measuring", "writing"} == {*told["seconds"]}
    assert all(seconds >= 0 for seconds in told["seconds"].values())


def test_every_part_is_told_in_words(place, extracted, in_process):
    extracted.add_vectors("scenes:clip", torch.randn(N - 5, 64, generator=torch.Generator().manual_seed(0)))
    said = in_process(place, *ALIGN, "--method", "closed-form", "--out", "closed.safetensors")
    assert said.returncode == 0, said.stderr
    lines = said.stdout.splitlines()
    parts = lines[lines.index("seconds") + 1 : -1]
    assert [line.split()[0] for line in parts[2:]] == [
        "spans", "reading", "sums", "solving", "checksum", "measuring", "writing", "all",
    ]  # fmt: skip
    assert sum(float(line.split()[-1]) for line in parts[:-1]) == pytest.approx(float(parts[-1].split()[-1]), abs=0.6)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("align", "scenes:deit", "--clip", "scenes:clip", "--out", "x"), "give --images, or --store with what"),
        (("align", "scenes:dino", *ALIGN[2:], "--out", "x"), "s.lance holds contributions of scenes:deit, not of"),
        ((*ALIGN, "--out", "x", "--set", "epoch=1"), "not 'epoch=1'; did you mean epochs"),
        ((*ALIGN, "--out", "x", "--set", "epochs=many"), "--set epochs takes a whole number, not 'many'"),
        ((*ALIGN, "--out", "x", "--set", "orthogonality=true"), "orthogonality takes a number or a word, not 'true'"),
        ((*ALIGN, "--out", "x", "--set", "epochs"), "--set takes NAME=VALUE, not 'epochs'"),
        ((*ALIGN, "--out", "x", "--images", "few"), "s.lance holds "),
    ],
)
def test_what_is_refused(place, extracted, in_process, words, told):
    SceneDataset(2, 9, "test").write(place / "few") if not (place / "few").exists() else None
    done = in_process(place, *words)
    assert done.returncode == 2
    assert told in done.stderr
    assert not (place / "x").exists()


def test_a_store_is_read_out_one_component_at_a_time(extracted, monkeypatch):
    source = torch.Generator().manual_seed(0)
    seen, pool = torch.randn(len(extracted), 8, generator=source), torch.randn(20, 8, generator=source)
    words = [f"text {i}" for i in range(20)]
    slow = Readout(m=2).fit(extracted.take(range(len(extracted))), seen, pool, words)
    some = [component for component in extracted.components if component.kind == "mlp"]

    def refuse(*_):
        raise AssertionError("a store must not be expanded")

    monkeypatch.setattr(vd.Store, "take", refuse)
    found = Readout(m=2).fit(extracted, seen, pool, words, components=some)
    assert found.components_ == tuple(some)
    expected = {c: reading for c, reading in zip(slow.components_, slow.readings_, strict=True) if c in some}
    for component, reading in zip(found.components_, found.readings_, strict=True):
        assert reading.indices == expected[component].indices
        assert reading.scores == pytest.approx(expected[component].scores, abs=1e-4)
