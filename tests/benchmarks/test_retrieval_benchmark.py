"""The benchmark of large searches measures a store of its own, and an index of it."""

from __future__ import annotations

import json
from pathlib import Path

import retrieval

SMALL = {"components": 3, "rank": 8, "dimension": 24, "chosen": 2, "threads": 1}


def test_a_store_is_written_and_searched(tmp_path: Path) -> None:
    place, out = tmp_path / "s.lance", tmp_path / "out"
    retrieval.main(n=3000, **SMALL, index="IVF20,SQfp16", place=place, out=out)
    told = json.loads((out / "retrieval.json").read_text())["models"]["3,000 images"]
    assert min(told["seconds"].values()) > 0
    shares = {int(probes): one["recall"] for probes, one in told["index"]["probes"].items()}
    assert list(shares) == [1, 4, 16]
    assert shares[1] < shares[16]
    assert shares[16] > 0.9
    assert (out / "retrieval.md").read_text().startswith("# Searching many images")
    written = (place / "images.lance").stat().st_mtime
    retrieval.main(n=3000, **SMALL, index="none", place=place, out=None)
    assert (place / "images.lance").stat().st_mtime == written
