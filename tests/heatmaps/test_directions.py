"""Texts, classes and differences as directions."""

from __future__ import annotations

import pytest
import torch
from families import case
from torch import nn

import vitdecomp as vd
from vitdecomp.heatmaps.directions import class_vector
from vitdecomp.models.loaded_model import Classifier

pytestmark = pytest.mark.xdist_group("vit_cls")
WORDS = {"cat": [1.0, 0.0], "dog": [0.0, 2.0]}


def encode(texts: list[str]) -> torch.Tensor:
    found = torch.zeros(len(texts), 48, dtype=torch.float64)
    found[:, :2] = torch.tensor([WORDS[text] for text in texts])
    return found


def score(asked: object) -> torch.Tensor:
    known = case("vit_cls")
    return vd.explain(known.decomposer, known.images, asked, encode_text=encode).audit.score  # type: ignore[arg-type]


def test_texts_are_unit_vectors_and_pairs_are_differences() -> None:
    total = case("vit_cls").contributions.total()
    torch.testing.assert_close(score(["cat", "dog", ("cat", "dog")]), _stacked(total), rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(score("dog"), total[:, 1:2], rtol=1e-9, atol=1e-10)


def _stacked(total: torch.Tensor) -> torch.Tensor:
    return torch.stack([total[:, 0], total[:, 1], total[:, 0] - total[:, 1]], 1)


def test_each_image_may_have_directions_of_its_own() -> None:
    total = case("vit_cls").contributions.total()
    own = score([["cat"], ["dog"], ["cat"], ["dog"]])
    expected = torch.stack([total[0, 0], total[1, 1], total[2, 0], total[3, 1]])[:, None]
    torch.testing.assert_close(own, expected, rtol=1e-9, atol=1e-10)


def test_labels_are_what_was_asked() -> None:
    known = case("vit_cls")
    maps = vd.explain(known.decomposer, known.images, ["cat", ("cat", "dog")], encode_text=encode)
    assert maps.labels == ("cat", "cat - dog")


def test_a_class_is_a_row_of_the_classifier() -> None:
    layer = nn.Linear(4, 3)
    ids = ("n01440764", "n01443537", "n02012849")
    classifier = Classifier(("tench, Tinca tinca", "goldfish", "crane, bird"), layer, ids)
    for ask, row in (("goldfish", 1), ("Tinca tinca", 0), (2, 2), ("2", 2), ("n01443537", 1)):
        assert torch.equal(class_vector(classifier, ask, "x"), layer.weight[row])


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        ("goldfsh", "timm:x has no class 'goldfsh'; did you mean goldfish?"),
        ("n01443537", "timm:x has no class 'n01443537' (goldfish); did you mean goldfish?"),
        (3, "timm:x has no class 3: its classes are 0 to 2"),
        ("crane", "class 'crane' of timm:x may be any of 1, 2: give the number"),
    ],
)
def test_a_class_that_is_not_there(ask: str | int, message: str) -> None:
    classifier = Classifier(("goldfish", "crane, bird", "crane, machine"), nn.Linear(4, 3))
    with pytest.raises(vd.SpecError) as error:
        class_vector(classifier, ask, "timm:x")
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ([], "nothing to explain; give vectors, texts or classes"),
        ([["cat"], ["dog"]], "2 lists for 4 images"),
        ([["cat"], ["dog"], ["cat"], ["cat", "dog"]], "4 lists for 4 images; give one for each, all of one length"),
    ],
)
def test_lists_that_do_not_fit(asked: object, message: str) -> None:
    with pytest.raises(vd.InputError, match=message):
        score(asked)


def test_a_model_without_texts_and_classes() -> None:
    known = case("vit_cls")
    with pytest.raises(vd.SpecError, match=r"text 'cat': .* reads no texts; give maps into a CLIP's space, or vectors"):
        vd.explain(known.decomposer, known.images, ["cat"])
