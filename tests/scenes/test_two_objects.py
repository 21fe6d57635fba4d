"""The mask of the second object lies where it was drawn, and the picture is the same as without it being asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vitdecomp.scenes import SceneDataset
from vitdecomp.scenes.render import draw, draw_both


def test_the_second_mask_is_where_the_second_object_changes_the_picture() -> None:
    data = SceneDataset(60, seed=2, split="test", word_probability=0.5)
    scenes = [data.scene(i) for i in range(60) if data.scene(i).second is not None]
    assert len(scenes) > 5
    assert any(scene.occluded for scene in scenes)
    for scene in scenes:
        image, first, second = draw_both(scene)
        alone, mask, none = draw_both(replace(scene, second=None))
        assert not (first & second).any()
        assert not none.any()
        assert np.array_equal(first, mask)
        changed = (image != alone).any(2)
        assert changed[second].mean() > 0.97  # but for pixels of about the background's color
        assert second.sum() > 0.2 * changed.sum()  # the rest is shadow and rim
        plain = draw(scene)
        assert np.array_equal(plain[0], image)
        assert np.array_equal(plain[1], first)
