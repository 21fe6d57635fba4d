"""The benchmark of stores measures one that holds what it should."""

import json

import store as benchmark
from typer.testing import CliRunner

from vitdecomp import Store


def test_the_benchmark_reads_and_writes_a_store(tmp_path):
    benchmark.write_store(str(tmp_path / "s.lance"), 50, benchmark.Sizes(components=6, rank=4, dimension=12))
    store = Store(tmp_path / "s.lance")
    assert len(store) == 50
    assert store.take([7]).values.shape == (1, 6, 12)
    assert store.coefficients(store.components[5], range(50)).shape == (50, 4)
    app = benchmark.typer.Typer()
    app.command()(benchmark.main)
    flags = ["-n", "40", "--components", "6", "--rank", "4", "--dimension", "12", "--json", str(tmp_path / "out.json")]
    done = CliRunner().invoke(app, flags)
    assert done.exit_code == 0, done.output
    told = json.loads((tmp_path / "out.json").read_text())
    assert told["images"] == 40
    assert told["bytes"] > 40 * 6 * 4 * 2
    assert set(told["seconds"]) >= {"open", "5 columns, all images", "all columns, all images"}
    assert min(told["seconds"].values()) > 0
