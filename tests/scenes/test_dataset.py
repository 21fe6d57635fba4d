"""The data set: picture i whatever n is, labels without pixels, factors independent unless they are tied."""

from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from vitdecomp.errors import SpecError
from vitdecomp.scenes import FACTORS, SUBSETS, Correlation, SceneDataset

FREE = SceneDataset(2500)  # its labels are drawn once


def test_a_picture_depends_on_nothing_but_its_index():
    few, many = SceneDataset(5, seed=3), SceneDataset(500, seed=3)
    order = [4, 0, 2, 4]
    assert np.array_equal(few.arrays(range(5))[order], many.arrays(order))
    assert few.captions == many.captions[:5]
    assert few.scene(-1) == many.scene(4)


def test_seeds_and_splits_share_no_picture():
    sets = [SceneDataset(40, seed=seed, split=split) for seed in (0, 1) for split in ("train", "val", "test")]
    pictures = {image.tobytes() for data in sets for image in data.arrays(range(40))}
    assert len(pictures) == 240


@pytest.mark.parametrize("subset", SUBSETS)
def test_labels_without_pixels_are_those_of_the_samples(subset):
    data = SceneDataset(60, subset=subset, split="val")
    for index in range(60):
        sample = data.sample(index)
        assert sample.labels == {name: values[index] for name, values in data.labels.items()}
        assert sample.caption == data.captions[index]
        assert data[index][1] == data.labels["target"][index]
        for name in FACTORS:
            assert FACTORS[name][sample.labels[name]] == getattr(sample.scene, name)


def test_an_item_is_a_picture_and_its_class():
    data = SceneDataset(3, target="colour")
    picture, target = data[1]
    assert isinstance(picture, Image.Image)
    assert np.array_equal(np.asarray(picture), data.sample(1).image)
    assert FACTORS["colour"][target] == data.scene(1).colour
    assert data.classes == FACTORS["colour"]
    assert SceneDataset(3, transform=lambda image: image.size)[0][0] == (64, 64)
    assert len(list(iter(data))) == len(data) == 3


def test_an_empty_data_set():
    data = SceneDataset(0)
    assert len(data) == 0
    assert data.captions == []
    assert data.arrays([]).shape == (0, 64, 64, 3)
    assert all(len(values) == 0 for values in data.labels.values())
    with pytest.raises(IndexError, match="image 0 of 0"):
        data[0]


def dependence(one, other):
    """Pearson's chi-square of two labels, in standard deviations above its mean under independence."""
    table = np.zeros((one.max() + 1, other.max() + 1))
    np.add.at(table, (one, other), 1)
    expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / table.sum()
    freedom = (table.shape[0] - 1) * (table.shape[1] - 1)
    return (((table - expected) ** 2 / expected).sum() - freedom) / (2 * freedom) ** 0.5


def test_factors_are_uniform_and_independent():
    labels = FREE.labels
    for name, choices in FACTORS.items():
        counts = np.bincount(labels[name], minlength=len(choices)) * len(choices) / 2500
        assert np.abs(counts - 1).max() < 0.25
    for one, other in combinations(FACTORS, 2):
        assert dependence(labels[one], labels[other]) < 4.5, (one, other)
    tied = SceneDataset(2500, correlate=(Correlation("shape", "size", 0.15),)).labels
    assert dependence(tied["shape"], tied["size"]) > 4.5


@pytest.mark.parametrize(("first", "second"), [("shape", "location"), ("size", "shape"), ("colour", "pattern")])
def test_a_correlation_has_the_strength_that_was_asked_for(first, second):
    data = SceneDataset(1500, correlate=(Correlation(first, second, 0.7),))
    n = len(FACTORS[second])
    tied = (data.labels[first] % n == data.labels[second]).mean()
    assert tied == pytest.approx(0.7 + 0.3 / n, abs=0.05)
    assert (FREE.labels[first] % n == FREE.labels[second]).mean() < 0.4


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n": -1}, "must not be negative, not -1"),
        ({"seed": -1}, "must not be negative"),
        ({"split": "tests"}, "no split 'tests'; did you mean test"),
        ({"subset": "waterbird"}, "no subset 'waterbird'; did you mean waterbirds"),
        ({"target": "color"}, "no factor 'color'; did you mean colour"),
        ({"word_probability": 1.5}, "between 0 and 1, not 1.5"),
        ({"word_truth": float("nan")}, "between 0 and 1, not nan"),
        ({"subset": "celeba", "correlate": (Correlation("shape", "colour", 0.5),)}, "groups of celeba decide colour"),
        ({"correlate": (Correlation("shape", "colour", 0.5),) * 13}, "at most 12 correlations"),
    ],
)
def test_what_means_nothing_is_refused(wrong, message):
    with pytest.raises(SpecError, match=message):
        SceneDataset(**wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (("shapes", "colour", 0.5), "did you mean shape"),
        (("shape", "colours", 0.5), "did you mean colour"),
        (("shape", "shape", 0.5), "with itself"),
        (("shape", "colour", -0.1), "between 0 and 1"),
    ],
)
def test_a_correlation_of_nothing_is_refused(wrong, message):
    with pytest.raises(SpecError, match=message):
        Correlation(*wrong)
