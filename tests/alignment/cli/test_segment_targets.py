"""What is explained of each mask: a text for its class, a class of the model, or what the user names."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from vitdecomp_alignment import ClipSpace
from vitdecomp_alignment.cli.segment.targets import TargetConfig, read_targets

import vitdecomp as vd
from vitdecomp.datasets.masks import masked_scenes
from vitdecomp.scenes import SceneDataset

TENCH, CRANE = "n01440764", "n03126707"  # the second is one of two classes that are called crane


def config(**given: Any) -> TargetConfig:
    return TargetConfig(**{"text": None, "named": None, "minus": None, "predicted": False, **given})


@pytest.fixture(scope="module")
def vit() -> vd.LoadedModel:
    return vd.load_model("timm:test_vit.r160_in1k", pretrained=False)


@pytest.fixture(scope="module")
def clip() -> ClipSpace:
    return ClipSpace("scenes:clip")


@pytest.mark.parametrize(
    ("given", "names", "texts", "told"),
    [
        ({}, [TENCH, "night_sky"], ["a photo of a tench", "a photo of a night sky"], 'the text "a photo of a {}" with'),
        ({"text": "{}!"}, ["red", "blue"], ["red!", "blue!"], 'the text "{}!" with the class of each mask'),
        ({"text": "red"}, ["a", "b", None], ["red"] * 3, 'the text "red"'),
        ({"named": "red"}, [None], ["a photo of a red"], 'the text "a photo of a red"'),
    ],
)
def test_texts(
    vit: vd.LoadedModel, clip: ClipSpace, given: Any, names: list[str | None], texts: list[str], told: str
) -> None:
    found, less = (read_targets(config(**given, minus=m), names, vit, clip) for m in (None, "green"))
    assert found.rows is not None
    vectors = torch.stack([found.vectors[found.rows[name]] for name in names])
    torch.testing.assert_close(vectors, clip.encode_text(texts))
    assert len(found.vectors) == len(set(texts))
    torch.testing.assert_close(found.vectors - less.vectors, clip.encode_text(["green"]).expand_as(found.vectors))
    assert found.told.startswith(told)
    assert less.told == f"{found.told}, minus green"


def test_classes_are_rows_of_the_classifier_by_their_ids(vit: vd.LoadedModel) -> None:
    weight = vit.classifier.layer.weight  # type: ignore[union-attr]
    found, less = (read_targets(config(minus=m), [TENCH, CRANE], vit, None) for m in (None, "goldfish"))
    assert found.rows == {TENCH: 0, CRANE: 517}
    assert torch.equal(found.vectors, weight)
    assert less.minus == 1
    assert torch.equal(less.vectors, weight - weight[1])
    named = read_targets(config(named="3"), ["x", None], vit, None)
    assert named.rows == {"x": 3, None: 3}


def test_predictions_decide_where_they_are_asked_for_or_masks_have_no_classes(vit: vd.LoadedModel) -> None:
    features = torch.randn(3, vit.classifier.layer.in_features)  # type: ignore[union-attr]
    for given, names in (({"predicted": True}, [TENCH]), ({}, [None])):
        found = read_targets(config(**given), names, vit, None)
        assert found.told == "the class that the model predicts"
        expected = vit.classifier.layer(features).argmax(1)  # type: ignore[union-attr]
        assert torch.equal(found.of(masked_scenes(SceneDataset(3)), lambda: features), expected)


def test_a_class_that_the_model_does_not_have_says_what_to_do(vit: vd.LoadedModel) -> None:
    with pytest.raises(
        vd.SpecError, match=r"has no class 'n00004475' \(organism\).*--predicted explains the class that"
    ):
        read_targets(config(), [TENCH, "n00004475"], vit, None)
    with pytest.raises(vd.SpecError, match=r"some of these masks have no class \(--predicted explains"):
        read_targets(config(), [TENCH, None], vit, None)
