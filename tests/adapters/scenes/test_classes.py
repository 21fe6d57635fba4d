"""The classes of the supervised models."""

import numpy as np
from vitdecomp_adapters.scenes.classes import CLASSES, NAMES, WHOLE, classify

from vitdecomp.scenes import FACTORS, SceneDataset


def test_every_scene_belongs_to_the_classes_whose_names_are_true_of_it():
    data = SceneDataset(4000)
    classes = classify(data.labels)
    for i in range(300):
        scene = data.scene(i)
        for factor, number in zip(NAMES, classes[i], strict=True):
            assert scene.shape in CLASSES[number]
            assert scene.shape in WHOLE or getattr(scene, factor) in CLASSES[number]
    assert set(classes.ravel()) == set(range(len(CLASSES)))
    assert len(set(CLASSES)) == len(CLASSES)


def test_every_value_of_the_main_factors_changes_most_classes():
    """No factor can be thrown away: changing it alone changes a class of nearly every scene."""
    labels = SceneDataset(2000).labels
    before = classify(labels)
    for factor in ("shape", "colour", "pattern", "location"):
        changed = {**labels, factor: (labels[factor] + 1) % len(FACTORS[factor])}
        assert np.mean((classify(changed) != before).any(1)) > 0.85


def test_size_and_position_do_not_matter():
    labels = SceneDataset(500).labels
    changed = {**labels, "size": (labels["size"] + 1) % 3, "position": (labels["position"] + 1) % 9}
    assert np.array_equal(classify(changed), classify(labels))
