"""Segmentation measures equal the obvious loops, by each protocol, however images are put into batches."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from vitdecomp import InputError, SpecError
from vitdecomp.metrics import (
    MEASURES,
    PROTOCOLS,
    Protocol,
    Segmentation,
    SegmentationResult,
    localisation,
    register_protocol,
)

RNG = np.random.default_rng(5)
N, H, W = 12, 14, 17
MASKS = RNG.random((N, H, W)) < np.linspace(0.1, 0.6, N)[:, None, None]
MAPS = RNG.normal(size=(N, H, W)) + 1.5 * MASKS
PARTLY = np.where(RNG.random((N, H, W)) < 0.8, MASKS, -1).astype(np.int8)  # a fifth is not annotated
POINTS = np.where(RNG.random((N, H, W)) < 0.06, MASKS, -1).astype(np.int8)
CLASSES = [f"class {i % 3}" for i in range(N)]


def scored(protocol: Protocol | str, maps: np.ndarray = MAPS, masks: np.ndarray = PARTLY) -> SegmentationResult:
    found = Segmentation(protocol)
    found.add(maps, masks, classes=CLASSES[: len(maps)])
    return found.result(bootstrap=0)


def values(result: SegmentationResult) -> list[float]:
    return [estimate.value for estimate in result.estimates().values()]


def unit(x: np.ndarray) -> np.ndarray:
    return (x - x.min()) / (x.max() - x.min())


def iou(predicted: np.ndarray, true: np.ndarray) -> float:
    return (predicted & true).sum() / (predicted | true).sum()


# The slow definitions


def test_imagenet_segmentation_is_the_published_loop() -> None:
    predicted, true, precision = [], [], []
    for x, mask in zip(MAPS, PARTLY, strict=True):
        scaled, known = unit(x), mask >= 0
        predicted.append((scaled > scaled.mean())[known])
        true.append(mask[known] == 1)
        channels, one_hot = np.stack([1 - scaled, scaled])[:, known], np.stack([~true[-1], true[-1]])
        precision.append(average_precision_score(one_hot.ravel(), channels.ravel()))
    p, t = np.concatenate(predicted), np.concatenate(true)
    found = scored("imagenet-segmentation")
    assert found.pixel_accuracy.value == pytest.approx((p == t).mean(), abs=1e-12)
    assert found.miou.value == pytest.approx((iou(p, t) + iou(~p, ~t)) / 2, abs=1e-12)
    assert found.average_precision.value == pytest.approx(np.mean(precision), abs=1e-12)


def test_foreground_is_the_published_loop() -> None:
    predicted, precision = [], []
    for x, mask in zip(MAPS, MASKS, strict=True):
        clipped = x.clip(min=0) / x.max()
        predicted.append(clipped > clipped.mean())
        precision.append(average_precision_score(mask.ravel(), clipped.ravel()))
    found = scored("foreground", masks=MASKS)
    assert found.pixel_accuracy.value == pytest.approx((np.array(predicted) == MASKS).mean(), abs=1e-12)
    assert found.miou.value == pytest.approx(iou(np.array(predicted), MASKS), abs=1e-12)
    assert found.average_precision.value == pytest.approx(np.mean(precision), abs=1e-12)


def test_points_average_over_classes() -> None:
    each: dict[str, tuple[list[np.ndarray], list[np.ndarray]]] = {}
    precision = []
    for x, mask, name in zip(MAPS, POINTS, CLASSES, strict=True):
        known = mask >= 0
        predicted, true = each.setdefault(name, ([], []))
        predicted.append((unit(x) > 0.5)[known])
        true.append(mask[known] == 1)
        if true[-1].any() and not true[-1].all():
            precision.append(average_precision_score(true[-1], x[known]))
    found = scored("points", masks=POINTS)
    slow = [iou(np.concatenate(p), np.concatenate(t)) for p, t in each.values()]
    assert found.miou.value == pytest.approx(np.mean(slow), abs=1e-12)
    assert found.average_precision.value == pytest.approx(np.mean(precision), abs=1e-12)
    assert found.average_precision.n == len(precision)


def test_an_average_over_images_pools_nothing() -> None:
    protocol = replace(PROTOCOLS["imagenet-segmentation"], name="each", average="image")
    slow, right = [], []
    for x, mask in zip(MAPS, MASKS, strict=True):
        predicted = x > x.mean()
        slow.append((iou(predicted, mask) + iou(~predicted, ~mask)) / 2)
        right.append((predicted == mask).mean())
    found = scored(protocol, masks=MASKS)
    assert found.miou.value == pytest.approx(np.mean(slow), abs=1e-12)
    assert found.pixel_accuracy.value == pytest.approx(np.mean(right), abs=1e-12)
    assert abs(found.miou.value - scored("imagenet-segmentation", masks=MASKS).miou.value) > 1e-4


def test_pointing_and_inside_are_those_of_localisation() -> None:
    found, single = scored("foreground", masks=MASKS), localisation(MAPS, MASKS).mean()
    assert found.pointing.value == pytest.approx(single["pointing"], abs=1e-12)
    assert found.inside.value == pytest.approx(single["inside"], abs=1e-12)
    whole = scored(replace(PROTOCOLS["foreground"], name="signed", clip=False), masks=MASKS)
    assert whole.average_precision.value == pytest.approx(single["average_precision"], abs=1e-12)


# What must hold of every protocol


@pytest.mark.parametrize("protocol", list(PROTOCOLS))
def test_a_perfect_map_scores_one_and_an_inverted_one_nothing(protocol: str) -> None:
    masks = POINTS if PROTOCOLS[protocol].points else MASKS
    assert values(scored(protocol, MASKS.astype(float), masks)) == [1.0] * len(MEASURES)
    inverted = scored(protocol, 1.0 - MASKS, masks)
    assert inverted.miou.value == inverted.pixel_accuracy.value == inverted.pointing.value == inverted.inside.value == 0
    assert inverted.average_precision.value < 0.6


@settings(max_examples=20, deadline=None)
@given(power=st.integers(-20, 20), shift=st.integers(-3, 3), protocol=st.sampled_from(sorted(PROTOCOLS)))
def test_the_unit_of_a_map_does_not_matter(power: int, shift: int, protocol: str) -> None:
    maps = np.round(MAPS * 64) / 64  # so that scales and shifts are exact
    usual = scored(protocol, maps)
    assert values(scored(protocol, 2.0**power * maps)) == pytest.approx(values(usual), abs=1e-12)
    moved = scored(protocol, maps + shift)
    signed = PROTOCOLS[protocol].clip
    for name in ("pixel_accuracy", "miou", "average_precision"):
        same = moved.estimates()[name].value == pytest.approx(usual.estimates()[name].value, abs=1e-12)
        assert same or (signed and shift), name


def test_clipping_matters_where_the_map_is_signed_and_only_there() -> None:
    signed = replace(PROTOCOLS["foreground"], name="signed", clip=False)
    positive = np.abs(MAPS)
    positive[:, 0, 0] = 0
    assert values(scored("foreground", positive)) == pytest.approx(values(scored(signed, positive)), abs=1e-12)
    assert scored("foreground").miou.value != pytest.approx(scored(signed).miou.value, abs=1e-4)


@pytest.mark.parametrize("protocol", list(PROTOCOLS))
def test_batches_change_nothing(protocol: str) -> None:
    whole, parts = Segmentation(protocol), Segmentation(protocol)
    whole.add(MAPS, PARTLY, classes=CLASSES)
    for start in range(0, N, 5):
        part = slice(start, start + 5)
        parts.add(torch.from_numpy(MAPS[part]), torch.from_numpy(PARTLY[part]), classes=CLASSES[part])
    assert len(whole) == len(parts) == N
    assert whole.result(bootstrap=50, seed=3) == parts.result(bootstrap=50, seed=3)
    assert np.array_equal(whole.rows.counts.sum(axis=1), (PARTLY >= 0).sum(axis=(1, 2)))


def test_what_is_not_annotated_counts_nowhere_but_in_the_mean() -> None:
    fixed = Protocol("fixed", threshold=0.5, classes="foreground")
    maps, masks = MAPS.clip(-1, 2), PARTLY.copy()
    maps[:, 0, :2], masks[:, 0, :2] = (-1, 2), -1  # the same ends for both
    wrong = np.where(masks < 0, -maps.clip(-1, 1), maps)
    wrong[:, 0, :2] = (-1, 2)
    assert values(scored(fixed, wrong, masks)) == pytest.approx(values(scored(fixed, maps, masks)), abs=1e-12)
    own = PROTOCOLS["foreground"]
    assert scored(own, wrong, masks).miou.value != pytest.approx(scored(own, maps, masks).miou.value, abs=1e-4)


def test_a_map_that_says_nothing_is_all_background() -> None:
    found = scored("imagenet-segmentation", np.full((N, H, W), 0.1), MASKS)
    assert found.pixel_accuracy.value == pytest.approx(1 - MASKS.mean(), abs=1e-12)
    assert found.average_precision.value == pytest.approx(0.5, abs=1e-12)
    assert found.pointing.value == pytest.approx(MASKS.mean(), abs=1e-12)
    assert scored("foreground", np.full((N, H, W), -1.0), MASKS).miou.value == 0


def test_small_maps_are_upsampled() -> None:
    mask = np.zeros((1, 32, 32), dtype=bool)
    mask[:, 8:16, 16:24] = True
    grid = torch.zeros(1, 4, 4)
    grid[:, 1, 2] = 1
    found = scored("foreground", grid.numpy(), mask)
    assert found.average_precision.value > 0.95
    assert found.pointing.value == 1


def test_maps_without_an_object_define_no_ranking() -> None:
    masks = MASKS.copy()
    masks[:3] = False
    found = scored("foreground", masks=masks)
    assert found.n == N
    assert found.pixel_accuracy.n == found.miou.n == N
    assert found.average_precision.n == found.pointing.n == found.inside.n == N - 3
    kept = scored("foreground", MAPS[3:], MASKS[3:])
    assert found.average_precision.value == pytest.approx(kept.average_precision.value, abs=1e-12)


# The bootstrap


def drawn(n: int, seed: int = 0, protocol: str = "imagenet-segmentation", copies: int = 1) -> SegmentationResult:
    source = np.random.default_rng(n)
    masks = source.random((n, 8, 8)) < source.uniform(0.2, 0.6, (n, 1, 1))
    maps = masks + source.normal(size=masks.shape) * source.uniform(0.3, 2, (n, 1, 1))
    found = Segmentation(protocol)
    for _ in range(copies):
        found.add(maps, masks, classes=[f"{i % 4}" for i in range(n)], images=[f"{i}" for i in range(n)])
    return found.result(bootstrap=300, seed=seed)


@pytest.mark.parametrize("protocol", list(PROTOCOLS))
def test_intervals_contain_the_value_and_narrow_with_the_images(protocol: str) -> None:
    few, many = drawn(30, protocol=protocol), drawn(480, protocol=protocol)
    for name in MEASURES:
        small, large = few.estimates()[name], many.estimates()[name]
        assert small.low < small.value < small.high
        assert large.low < large.value < large.high
        ratio = (small.high - small.low) / (large.high - large.low)
        assert 2 < ratio < 8, name  # 4, as the root of the number


def test_intervals_have_the_width_of_the_standard_error() -> None:
    found = Segmentation("foreground")
    found.add(MAPS, MASKS)
    hits = found.rows.average_precision
    interval = found.result(bootstrap=4000).average_precision
    error = hits.std() / np.sqrt(N)
    assert (interval.high - interval.low) / (2 * 1.96 * error) == pytest.approx(1, abs=0.1)


def test_pooled_measures_are_pooled_in_every_replicate() -> None:
    found = Segmentation("imagenet-segmentation")
    found.add(MAPS, MASKS)
    counts = found.rows.counts
    source, slow = np.random.default_rng(7), []
    for _ in range(200):
        weights = source.multinomial(N, np.full(N, 1 / N))
        tp, fp, fn, tn = weights @ counts
        slow.append((tp / (tp + fp + fn) + tn / (tn + fp + fn)) / 2)
    result = found.result(bootstrap=200, seed=7, confidence=0.9)
    assert (result.miou.low, result.miou.high) == pytest.approx(tuple(np.quantile(slow, [0.05, 0.95])), abs=1e-12)


def test_maps_of_one_image_are_drawn_together() -> None:
    once, twice = drawn(40), drawn(40, copies=2)
    assert (once.n, twice.n, once.images, twice.images) == (40, 80, 40, 40)
    for name in MEASURES:
        a, b = once.estimates()[name], twice.estimates()[name]
        assert (b.value, b.low, b.high) == pytest.approx((a.value, a.low, a.high), abs=1e-12)


def test_the_seed_decides_the_interval_and_nothing_else() -> None:
    assert drawn(30, seed=1) == drawn(30, seed=1)
    assert drawn(30, seed=1) != drawn(30, seed=2)
    assert values(drawn(30, seed=1)) == values(drawn(30, seed=2))
    assert np.isnan(scored("foreground").miou.low)


# Refusals


def test_protocols_are_named() -> None:
    assert list(PROTOCOLS) == ["imagenet-segmentation", "foreground", "points"]
    assert all(protocol.definition and protocol.source for protocol in PROTOCOLS.values())
    with pytest.raises(SpecError, match=r"no protocol 'forground'; did you mean foreground"):
        Segmentation("forground")
    with pytest.raises(SpecError, match=r"threshold 1.5 is neither 'mean' nor within 0 .. 1"):
        Protocol("x", threshold=1.5)
    with pytest.raises(SpecError, match=r"protocol points is registered already"):
        register_protocol(Protocol("points"))


def test_maps_and_masks_that_mean_nothing_are_refused() -> None:
    found = Segmentation("points")
    with pytest.raises(InputError, match=r"no heatmaps were added"):
        found.result()
    with pytest.raises(InputError, match=r"averages over classes: give classes="):
        found.add(MAPS, POINTS)
    with pytest.raises(InputError, match=r"heatmaps: NaN or infinity"):
        found.add(np.full((N, H, W), np.nan), POINTS, classes=CLASSES)
    with pytest.raises(InputError, match=r"classes: 2 names for 12 heatmaps"):
        found.add(MAPS, POINTS, classes=["a", "b"])
    with pytest.raises(InputError, match=r"masks: value 255; they are 1 on the object"):
        found.add(MAPS, np.full((N, H, W), 255), classes=CLASSES)
    with pytest.raises(InputError, match=r"heatmaps \(12, 14, 17\) do not fit masks \(12, 7, 7\)"):
        found.add(MAPS, np.zeros((N, 7, 7), dtype=bool), classes=CLASSES)
    found.add(MAPS, np.full((N, H, W), -1, dtype=np.int8), classes=CLASSES)
    with pytest.raises(InputError, match=r"none of 12 masks has an annotated pixel"):
        found.result()
    with pytest.raises(InputError, match=r"bootstrap = -1"):
        found.result(bootstrap=-1)
