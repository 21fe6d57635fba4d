"""Scenes as records, drawn or out of the folder that they were written to."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vitdecomp.datasets.masks import masked_scenes, open_masked_images
from vitdecomp.scenes import SceneDataset


def test_what_is_drawn_is_what_is_written(tmp_path: Path) -> None:
    data = SceneDataset(6, 2, "test")
    data.write(tmp_path / "scenes", masks=True)
    drawn, written = masked_scenes(data), open_masked_images(tmp_path / "scenes")
    assert len(drawn) == len(written) == 6
    by_name = {record.id: record for record in written}
    for i, record in enumerate(drawn):
        image, mask = record.load()
        sample, other = data.sample(i), by_name[f"{record.class_name}/{record.id}"]
        assert record.class_name == other.class_name == data.classes[sample.labels["target"]]
        assert np.array_equal(np.asarray(image), np.asarray(other.image()))
        assert np.array_equal(mask == 1, sample.mask)
        assert np.array_equal(mask, other.mask())
    assert [record.id for record in drawn[1::2]] == ["000001", "000003", "000005"]
