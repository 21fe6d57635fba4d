"""A store as one file: what it holds is what the store holds, however few images are read at a time."""

import json

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from commands import launched, succeeded
from made_up import COMPONENTS, NAMES, flip, write, write_made

import vitdecomp as vd
from vitdecomp.export import export, selection

ROWS = 60


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    place = tmp_path_factory.mktemp("export") / "s.lance"
    write(place, range(0, ROWS, 10))
    return vd.Store(place)


@pytest.fixture(params=[1, 7, 1000])
def _at_once(request, monkeypatch):
    """So many images are read together."""
    monkeypatch.setattr(selection, "AT_ONCE", request.param * 8 * len(NAMES) * 16)


@pytest.mark.usefixtures("_at_once")
def test_a_long_table_is_the_frame_of_its_contributions(store, tmp_path):
    done = export(store, tmp_path / "t.parquet")
    read = pd.read_parquet(tmp_path / "t.parquet")
    whole = store.take(range(ROWS)).to_dataframe()
    assert (done.rows, done.images, done.components, done.quantities) == (420, ROWS, 7, ("norm", "share"))
    assert done.bytes == (tmp_path / "t.parquet").stat().st_size
    pd.testing.assert_frame_equal(read[[*whole.columns]], whole)
    assert [*read["id"][::7]] == [*store.ids]
    assert [*read["path"][::7]] == [str(path) for path in store.paths]
    assert read["label"][::7].isna().tolist() == [label is None for label in store.labels]
    assert [*read["error"][::7]] == store.error().tolist()


@pytest.mark.usefixtures("_at_once")
def test_a_wide_table_has_a_row_for_each_image(store, tmp_path):
    asked = ("vector", "share")
    export(store, tmp_path / "t.arrow", layout="wide", quantities=asked, embedding=True)
    read = pl.read_ipc(tmp_path / "t.arrow")
    assert read["image"].to_list() == [*range(ROWS)]
    assert np.array_equal(read["embedding"].to_numpy(), store.embedding().numpy())
    c = store.take(range(ROWS))
    for component in c.components:
        np.testing.assert_allclose(read[f"vector.{component}"].to_numpy(), c[component].numpy(), atol=1e-6)


@pytest.mark.usefixtures("_at_once")
def test_arrays_are_those_of_the_contributions(store, tmp_path):
    export(store, tmp_path / "a.npz", quantities=("vector", "norm", "share"), embedding=True)
    c = store.take(range(ROWS))
    with np.load(tmp_path / "a.npz", allow_pickle=False) as read:
        np.testing.assert_allclose(read["vector"], c.values.numpy(), atol=1e-6)  # rows alone are rounded otherwise
        np.testing.assert_allclose(read["norm"], c.values.double().norm(dim=2).numpy(), rtol=1e-5)
        np.testing.assert_allclose(read["share"].sum(1), 1)
        assert np.array_equal(read["embedding"], store.embedding().numpy())
        assert read["id"].tolist() == [*store.ids]
        assert read["label"].tolist() == [label or "" for label in store.labels]
        assert read["component"].tolist() == [*NAMES]
        assert read["kind"].tolist() == [component.kind for component in COMPONENTS]
        assert read["head"].tolist() == [-1] * len(NAMES)
        assert np.array_equal(read["error"], store.error().numpy())


def test_chosen_components_of_the_first_images(store, tmp_path):
    done = export(store, tmp_path / "t.csv", components=("head.*", "mlp"), limit=3)
    read = pd.read_csv(tmp_path / "t.csv")
    assert (done.images, done.components) == (3, 3)
    assert [*read["component"]] == ["head.0", "head.1", "mlp"] * 3
    np.testing.assert_allclose(read.groupby("image")["share"].sum(), 1)


def test_numbers_of_a_double_precision_store_stay_exact(tmp_path):
    values = torch.randn(4, 7, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    c = vd.Contributions(values, COMPONENTS, torch.zeros(4, dtype=torch.float64))
    write_made(tmp_path / "s", c)
    store = vd.Store(tmp_path / "s")
    export(store, tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as read:
        assert np.array_equal(read["vector"], store.take(range(4)).values.numpy())


@pytest.mark.parametrize("out", ["t.parquet", "t.csv", "a.npz"])
def test_no_more_images_are_read_together_than_fit(store, tmp_path, monkeypatch, out):
    monkeypatch.setattr(selection, "AT_ONCE", 8 * 8 * len(NAMES) * 16)
    taken, take = [], vd.Store.take
    monkeypatch.setattr(vd.Store, "take", lambda self, rows: taken.append(len(rows)) or take(self, rows))
    export(store, tmp_path / out)
    assert taken == [8] * 7 + [4]


@pytest.mark.parametrize(
    ("out", "asked", "message"),
    [
        ("t.xlsx", {}, r"by its suffix: give \.parquet, \.arrow, \.feather, \.csv, \.npz"),
        ("t", {}, "by its suffix"),
        ("none/t.csv", {}, "there is no directory"),
        ("t.csv", {"quantities": ("vector",)}, "cannot hold vectors"),
        ("t.csv", {"layout": "wide", "embedding": True}, r"cannot hold vectors \(embedding\)"),
        ("t.parquet", {"embedding": True}, "give the layout wide"),
        ("t.parquet", {"components": ("haed.*",)}, "no component matches 'haed"),
        ("t.parquet", {"layout": "wdie"}, "no layout 'wdie'; did you mean wide"),
        ("t.npz", {"quantities": ("shares",)}, "no quantity 'shares'; did you mean share"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_left(store, tmp_path, out, asked, message):
    with pytest.raises(vd.VitdecompError, match=message):
        export(store, tmp_path / out, **asked)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("out", ["t.parquet", "t.csv", "a.npz"])
def test_a_damaged_store_leaves_no_half_of_a_file(tmp_path, out):
    write(tmp_path / "s", range(0, 30, 10))
    (path,) = (tmp_path / "s" / "images.lance" / "data").iterdir()
    flip(path, path.stat().st_size // 2)
    with pytest.raises(vd.DamageError, match="its checksum differs"):
        export(vd.Store(tmp_path / "s"), tmp_path / out)
    assert [place.name for place in tmp_path.iterdir()] == ["s"]


def test_the_command_writes_what_it_says(store, tmp_path):
    done = succeeded(launched(tmp_path, "export", store.uri, "--out", "t.parquet", "--layout", "wide", "--json"))
    told = json.loads(done.stdout)
    assert told == {
        "path": "t.parquet",
        "rows": ROWS,
        "images": ROWS,
        "components": 7,
        "quantities": ["norm", "share"],
        "bytes": (tmp_path / "t.parquet").stat().st_size,
    }
    assert "exporting" in done.stderr
    assert f"share.{NAMES[0]}" in pd.read_parquet(tmp_path / "t.parquet")


def test_the_command_refuses_in_one_line(store, tmp_path, in_process):
    for words, message in (
        (("nowhere.lance", "--out", "t.csv"), "there are no contributions in nowhere.lance"),
        ((store.uri, "--out", "t.txt"), "cannot tell the format of t.txt by its suffix"),
        ((store.uri, "--out", "t.csv", "--components", "zzz"), "no component matches 'zzz'"),
    ):
        done = in_process(tmp_path, "export", *words, "--quiet")
        assert done.returncode == 2
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert not [*tmp_path.iterdir()]
