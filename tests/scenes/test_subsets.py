"""Groups have the shares that the subset states, and words name what they should."""

import numpy as np
import pytest

from vitdecomp.scenes import FACTORS, SUBSETS, SceneDataset
from vitdecomp.scenes.glyphs import GLYPHS, write

GROUPED = {  # their labels are drawn once
    (subset, split): SceneDataset(1500, subset=subset, split=split)
    for subset in ("waterbirds", "celeba")
    for split in ("train", "val", "test")
}


@pytest.mark.parametrize("subset", ["waterbirds", "celeba"])
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_groups_have_their_shares_and_their_values(subset, split):
    data, grouping = GROUPED[subset, split], SUBSETS[subset].grouping
    shares = np.bincount(data.labels["group"], minlength=4) / len(data)
    assert shares == pytest.approx(grouping.shares[split], abs=0.04)
    assert np.array_equal(data.labels["target"], data.labels["group"] // 2)
    assert data.classes == tuple(grouping.classes)
    classes, sides = list(grouping.classes.values()), list(grouping.sides.values())
    for index in range(100):
        scene = data.scene(index)
        assert getattr(scene, grouping.factor) in classes[scene.group // 2]
        assert getattr(scene, grouping.beside) in sides[scene.group % 2]


@pytest.mark.parametrize("subset", ["waterbirds", "celeba"])
def test_classes_and_sides_split_a_factor(subset):
    grouping = SUBSETS[subset].grouping
    for name, parts in ((grouping.factor, grouping.classes), (grouping.beside, grouping.sides)):
        assert sorted(value for part in parts.values() for value in part) == sorted(FACTORS[name])
    for shares in grouping.shares.values():
        assert sum(shares) == pytest.approx(1, abs=1e-12)


def test_place_goes_with_class_in_training_only():
    agreement = {}
    for split in ("train", "test"):
        group = GROUPED["waterbirds", split].labels["group"]
        agreement[split] = (group // 2 == group % 2).mean()
    assert agreement["train"] == pytest.approx(0.95, abs=0.02)
    assert agreement["test"] == pytest.approx(0.5, abs=0.04)


def test_groups_exist_only_where_they_mean_something():
    assert "group" not in SceneDataset(3).labels
    assert SceneDataset(3).scene(0).group is None
    other = SceneDataset(3, subset="waterbirds", target="location")
    assert np.array_equal(other.labels["target"], other.labels["location"])


def test_a_typographic_word_names_a_wrong_shape():
    data = SceneDataset(300, subset="typographic")
    for index in range(300):
        scene = data.scene(index)
        assert scene.word in FACTORS["shape"]
        assert scene.word != scene.shape


@pytest.mark.parametrize(("often", "truth"), [(0.0, 0.2), (0.3, 0.2), (1.0, 1.0)])
def test_words_come_as_often_and_tell_the_truth_as_often_as_asked(often, truth):
    data = SceneDataset(700, word_probability=often, word_truth=truth)
    scenes = [data.scene(index) for index in range(700)]
    written = [scene for scene in scenes if scene.word is not None]
    assert len(written) / 700 == pytest.approx(often, abs=0.05)
    right = sum(scene.word in scene.values.values() for scene in written)
    assert right / max(len(written), 1) == pytest.approx(truth if written else 0, abs=0.08)


def test_every_word_that_may_be_written_has_letters_and_fits():
    for name in ("shape", "colour", "location"):
        for word in FACTORS[name]:
            assert set(word) <= set(GLYPHS)
            assert write(word, 1).shape[1] + 4 <= 64
    assert write("hi", 2).shape == (14, 22)
    assert len(set(GLYPHS.values())) == len(GLYPHS) == 27
