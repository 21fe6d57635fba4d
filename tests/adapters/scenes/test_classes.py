"""The classes of the supervised models."""

import numpy as np
from vitdecomp_adapters.scenes.classes import CLASSES, SPLIT_BY, classify

from vitdecomp.scenes import FACTORS, SceneDataset


def test_every_scene_has_the_class_that_its_name_says():
    data = SceneDataset(3000)
    classes = classify(data.labels)
    for i in range(300):
        scene = data.scene(i)
        name = CLASSES[classes[i]]
        factor = SPLIT_BY.get(scene.shape)
        assert scene.shape in name
        assert factor is None or getattr(scene, factor) in name
    assert set(classes) == set(range(len(CLASSES)))


def test_every_value_of_the_main_factors_changes_some_class():
    """No factor can be thrown away: changing it alone changes the class of some scenes."""
    labels = SceneDataset(2000).labels
    before = classify(labels)
    for factor in ("shape", "colour", "pattern", "location"):
        changed = {**labels, factor: (labels[factor] + 1) % len(FACTORS[factor])}
        assert np.mean(classify(changed) != before) > 0.1


def test_size_and_position_do_not_matter():
    labels = SceneDataset(500).labels
    changed = {**labels, "size": (labels["size"] + 1) % 3, "position": (labels["position"] + 1) % 9}
    assert np.array_equal(classify(changed), classify(labels))
