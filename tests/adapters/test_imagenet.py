"""ImageNet's classes by their WordNet ids, whichever library the model is of."""

from __future__ import annotations

import pytest
import timm
from torch import nn
from vitdecomp_adapters.imagenet import ids_of, info_of, words

import vitdecomp as vd
from vitdecomp.heatmaps.directions import class_number
from vitdecomp.models.adapter import class_words


@pytest.mark.parametrize(
    ("class_id", "expected"),
    [
        ("n01440764", "tench"),
        ("n02012849", "crane bird"),  # two classes of ImageNet are called crane
        ("n03126707", "construction crane"),
        ("n00004475", "organism"),  # of ImageNet-22k
        ("n99999999", None),
        ("tench", None),
    ],
)
def test_words_of_an_id(class_id: str, expected: str | None) -> None:
    assert words(class_id) == expected
    assert class_words(class_id) == (expected or class_id)


def test_a_model_of_timm_knows_the_ids_of_its_classes() -> None:
    module = timm.create_model("test_vit.r160_in1k", pretrained=False)
    known = vd.load_model(module).classifier
    assert known is not None
    assert [class_number(known, name, "x") for name in ("n03126707", "n02012849", "tench")] == [517, 134, 0]
    with pytest.raises(vd.SpecError, match=r"class 'crane' of x may be any of 134, 517: give the number"):
        class_number(known, "crane", "x")
    module.reset_classifier(7)
    assert vd.load_model(module).classifier.ids == ()  # type: ignore[union-attr]


def test_names_of_all_classes_in_order_have_ids_and_others_have_none() -> None:
    info = info_of("imagenet-1k")
    short = [name.split(", ")[0] for name in info.label_descriptions()]
    assert ids_of(short) == tuple(info.label_names())
    assert ids_of(short[::-1]) == ids_of(short[:10]) == ()


def test_a_classifier_of_transformers_knows_them_too() -> None:
    transformers = pytest.importorskip("transformers")
    names = dict(enumerate(info_of("imagenet-1k").label_descriptions()))
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=16,
        id2label=names, label2id={name: i for i, name in names.items()},
    )  # fmt: skip
    module: nn.Module = transformers.ViTForImageClassification(config).eval()
    known = vd.load_model(module).classifier
    assert known is not None
    assert class_number(known, "n03126707", "x") == 517
