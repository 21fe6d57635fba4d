"""The bootstrap is the obvious loop over images drawn with replacement."""

from __future__ import annotations

import numpy as np
import pytest

from vitdecomp import InputError
from vitdecomp.metrics import Bootstrap

VALUES = np.array([0.1, 0.9, np.nan, 0.4, 0.6, 0.2])
IMAGES = ["a", "b", "b", "c", "a", "d"]


def test_the_mean_is_that_of_the_loop() -> None:
    drawing = Bootstrap(replicates=200, seed=3, confidence=0.9)
    found, means = drawing.mean(VALUES, IMAGES), []
    source = np.random.default_rng(3)
    for _ in range(200):
        times = dict(zip("abcd", source.multinomial(4, [0.25] * 4), strict=True))
        drawn = [v for v, image in zip(VALUES, IMAGES, strict=True) for _ in range(times[image]) if np.isfinite(v)]
        means += [np.mean(drawn)] if drawn else []
    assert found.value == pytest.approx(np.nanmean(VALUES))
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(means, [0.05, 0.95])))
    assert found.n == 5


def test_maps_of_one_image_are_drawn_together() -> None:
    (weights,) = Bootstrap(50).draws(IMAGES)
    assert (weights[:, 0] == weights[:, 4]).all()
    assert (weights[:, 1] == weights[:, 2]).all()
    assert (weights[:, [0, 1, 3, 5]].sum(1) == 4).all()


def test_equal_seeds_draw_the_same_of_equally_many_images() -> None:
    same, other = (next(Bootstrap(9, seed=seed).draws(list("wxyz"))) for seed in (0, 1))
    assert (next(Bootstrap(9).draws(list("abcd"))) == same).all()
    assert (other != same).any()


def test_what_nothing_defines_is_not_a_number() -> None:
    found = Bootstrap(10).mean(np.array([np.nan, np.nan]))
    assert np.isnan([found.value, found.low, found.high]).all()
    assert found.n == 0
    none = Bootstrap(0).mean(np.array([1.0, 2.0]))
    assert none.value == 1.5
    assert np.isnan([none.low, none.high]).all()


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(InputError, match="bootstrap = -1; give the number of replicates"):
        Bootstrap(-1)
    with pytest.raises(InputError, match=r"confidence = 1.0; give a share between 0 and 1"):
        Bootstrap(confidence=1.0)
    with pytest.raises(InputError, match=r"6 values and 2 names of images; give one for each map"):
        Bootstrap().mean(VALUES, ["a", "b"])
