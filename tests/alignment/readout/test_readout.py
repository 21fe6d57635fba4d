"""Names by what can be read: against ridge regressions one by one, and where the truth is known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize
from vitdecomp_alignment import Readout
from vitdecomp_alignment.readout.moments import Folds
from vitdecomp_alignment.readout.roles import votes

import vitdecomp as vd
from vitdecomp.component import Component
from vitdecomp.contributions import Contributions

N, E = 120, 6


def contributions(*values: Tensor) -> Contributions:
    kinds = [Component(f"blocks.{i}.attn.head.0", "attn", i, 0) for i in range(len(values))]
    return Contributions(torch.stack(values, 1), tuple(kinds), torch.zeros(len(values[0])))


@pytest.fixture
def seen() -> Tensor:
    return torch.randn(N, E, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def noise(*shape: int, seed: int = 5) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


TEXTS = tuple(f"text {i}" for i in range(E))
POOL = torch.eye(E, dtype=torch.float64)


def by_hand(c: Tensor, seen: Tensor, text: Tensor, readout: Readout) -> float:
    """One ridge regression for each fold, on the similarity with one text."""
    z = normalize(seen, dim=1)
    folds = Folds.of(z, readout.folds, readout.random_state)
    s, c = (z - z.mean(0)) @ normalize(text, dim=0), c - c.mean(0)
    left = whole = 0.0
    for part in folds.parts:
        rest = torch.tensor([i for i in range(len(c)) if i not in set(part.tolist())])
        gram = c[rest].T @ c[rest] / len(rest)
        rank = torch.linalg.matrix_rank(c)
        ridge = readout.strength * gram.trace() / rank * torch.eye(c.shape[1], dtype=c.dtype)
        weights = torch.linalg.solve(gram + ridge, c[rest].T @ s[rest] / len(rest))
        left += float((s[part] - c[part] @ weights).square().sum())
        whole += float(s[part].square().sum())
    return 1 - left / whole


class TestReadout:
    def test_scores_are_those_of_a_ridge_regression_for_each_text(self, seen: Tensor) -> None:
        c = contributions(seen @ noise(E, 4) + 0.3 * noise(N, 4, seed=6))
        readout = Readout(m=1).fit(c, seen, POOL, TEXTS)
        slow = [by_hand(c.values[:, 0], seen, text, readout) for text in POOL]
        assert readout.readings_[0].indices == (max(range(E), key=slow.__getitem__),)
        assert readout.scores_[0][0] == pytest.approx(max(slow), abs=1e-10)

    def test_each_component_is_named_by_the_text_that_it_holds(self, seen: Tensor) -> None:
        z = normalize(seen, dim=1)
        c = contributions(*(z[:, i : i + 1] @ noise(1, 5, seed=i) + 0.01 * noise(N, 5, seed=9 + i) for i in range(E)))
        readout = Readout().fit(c, seen, POOL, TEXTS)
        assert readout.labels_ == tuple((text,) for text in TEXTS)
        assert all(readout.named_)
        assert min(score[0] for score in readout.scores_) > 0.9

    def test_noise_gets_no_name(self, seen: Tensor) -> None:
        readout = Readout().fit(contributions(*(noise(N, 5, seed=i) for i in range(40))), seen, POOL, TEXTS)
        assert sum(readout.named_) <= 2

    def test_a_second_text_says_what_the_first_does_not(self, seen: Tensor) -> None:
        """Of three texts, two say nearly the same; the component holds the first and the third."""
        z = normalize(seen, dim=1)
        pool = torch.stack([POOL[0], normalize(POOL[0] + 0.1 * POOL[3], dim=0), POOL[1]])
        c = contributions(z[:, :2] @ torch.diag(torch.tensor([2.0, 1.0], dtype=torch.float64)) + 0.01 * noise(N, 2))
        readout = Readout(m=2, strength=1e-3).fit(c, seen, pool, ("a", "nearly a", "b"))
        assert set(readout.labels_[0]) == {"a", "b"}

    def test_no_text_is_taken_twice(self, seen: Tensor) -> None:
        readout = Readout(m=E + 3).fit(contributions(seen @ noise(E, 9)), seen, POOL, TEXTS)
        assert len(set(readout.labels_[0])) == len(readout.labels_[0]) <= E

    def test_rotations_and_scales_of_a_component_change_nothing(self, seen: Tensor) -> None:
        c = seen @ noise(E, 4) + noise(N, 4, seed=6)
        rotation = torch.linalg.qr(noise(7, 4, seed=3))[0]
        first, second = (Readout(m=2).fit(contributions(x), seen, POOL, TEXTS) for x in (c, 40 * c @ rotation.T + 3))
        assert first.labels_ == second.labels_
        assert torch.allclose(*(torch.tensor(one.scores_[0]) for one in (first, second)), atol=1e-8)

    def test_norms_of_vectors_and_the_order_of_texts_change_nothing(self, seen: Tensor) -> None:
        c = contributions(seen @ noise(E, 4) + noise(N, 4, seed=6))
        first = Readout().fit(c, seen, POOL, TEXTS)
        second = Readout(chunk=2).fit(c, 3 * seen, 5 * POOL.flip(0), TEXTS[::-1])
        assert first.labels_ == second.labels_
        assert first.scores_[0] == pytest.approx(second.scores_[0])

    def test_a_constant_has_no_text(self, seen: Tensor) -> None:
        readout = Readout().fit(contributions(torch.ones(N, 3).double(), seen @ noise(E, 3)), seen, POOL, TEXTS)
        assert readout.labels_[0] == ()
        assert readout.named_ == (False, True)

    @pytest.mark.parametrize(
        ("settings", "change", "message"),
        [
            ({"m": 0}, {}, "m must be 1 or more"),
            ({"folds": 1}, {}, "folds must be 2 or more"),
            ({"strength": 0.0}, {}, "strength must be positive"),
            ({"folds": 100}, {}, "100 folds need 200 images"),
            ({}, {"texts": TEXTS[1:]}, "one vector for each text"),
            ({}, {"clip": torch.ones(N + 1, E)}, "need CLIP's vectors"),
            ({}, {"clip": torch.full((N, E), torch.nan)}, "NaN"),
        ],
    )
    def test_bad_input(self, seen: Tensor, settings: Any, change: Any, message: str) -> None:
        given = {"clip": seen, "texts": TEXTS, **change}
        with pytest.raises(vd.VitdecompError, match=message):
            Readout(**settings).fit(contributions(seen), given["clip"], POOL, given["texts"])


class TestScore:
    """R^2 on other images, from the regressions on all images of `fit`."""

    def test_other_images_are_predicted_as_by_hand(self, seen: Tensor) -> None:
        c = contributions(seen @ noise(E, 4) + 0.3 * noise(N, 4, seed=6))
        old, new = c.take(range(80)), c.take(range(80, N))
        readout = Readout(m=2).fit(old, seen[:80], POOL, TEXTS)
        z, values = normalize(seen, dim=1), c.values[:, 0]
        s = z @ POOL[readout.readings_[0].indices[0]]
        centered = values[:80] - values[:80].mean(0)
        gram = centered.T @ centered / 80
        weights = torch.linalg.solve(
            gram + 0.1 * gram.trace() / 4 * torch.eye(4).double(), centered.T @ (s[:80] - s[:80].mean()) / 80
        )
        guess = s[:80].mean() + (values[80:] - values[:80].mean(0)) @ weights
        slow = 1 - (s[80:] - guess).square().sum() / (s[80:] - s[80:].mean()).square().sum()
        assert readout.score(new, seen[80:])[0][0] == pytest.approx(float(slow))

    def test_what_is_stated_holds_on_other_images(self) -> None:
        """A component that is half noise: R^2 on 4,000 other images lies within 4 standard errors of what is stated."""
        generator = torch.Generator().manual_seed(1)
        seen = torch.randn(8000, E, dtype=torch.float64, generator=generator)
        c = contributions(*(normalize(seen, dim=1)[:, i : i + 2] + 0.3 * noise(8000, 2, seed=i) for i in range(4)))
        readout = Readout().fit(c.take(range(4000)), seen[:4000], POOL, TEXTS)
        found = readout.score(c.take(range(4000, 8000)), seen[4000:])
        for reading, (r2,) in zip(readout.readings_, found, strict=True):
            assert 0.3 < r2 < 0.9
            assert abs(r2 - reading.scores[0]) < 4 * max(reading.errors[0], 0.01)

    def test_a_constant_has_none(self, seen: Tensor) -> None:
        c = contributions(torch.ones(N, 3).double(), seen @ noise(E, 3))
        readout = Readout().fit(c, seen, POOL, TEXTS)
        assert [len(one) for one in readout.score(c, seen)] == [0, 1]

    def test_bad_input(self, seen: Tensor) -> None:
        with pytest.raises(vd.SpecError, match="not fitted yet"):
            Readout().score(contributions(seen), seen)
        readout = Readout().fit(contributions(seen), seen, POOL, TEXTS)
        with pytest.raises(vd.InputError, match="need CLIP's vectors"):
            readout.score(contributions(seen), seen[1:])


class TestRoles:
    FEATURES = ("a", "a", "a", "b", "b", "b")

    def test_texts_vote_for_what_they_speak_of(self) -> None:
        r2 = torch.tensor([0.1, 0.9, 0.2, 0.5, 0.0, -3.0])
        shares = votes(r2, self.FEATURES)  # a third of six texts: the two best
        assert shares == pytest.approx({"a": 0.9 / 1.4, "b": 0.5 / 1.4})

    def test_nothing_that_is_read_gives_no_votes(self) -> None:
        assert votes(-torch.ones(6), self.FEATURES) == {"a": 0.0, "b": 0.0}

    def test_a_component_has_the_role_of_what_it_holds(self, seen: Tensor) -> None:
        z = normalize(seen, dim=1)
        c = contributions(z[:, :3] + 0.01 * noise(N, 3), z[:, 3:] + 0.01 * noise(N, 3), noise(N, 3, seed=8))
        readout = Readout().fit(c, seen, POOL, TEXTS, features=self.FEATURES)
        first, second, third = readout.roles_
        assert first is not None
        assert second is not None
        assert third is not None
        assert (first.feature, first.clear, second.feature, second.clear) == ("a", True, "b", True)
        assert min(first.confidence, second.confidence) > 0.9
        assert not third.clear
        for reading in readout.readings_[:2]:
            assert reading.role is not None
            assert self.FEATURES[reading.indices[0]] == reading.role.feature

    def test_the_first_text_is_of_the_role_and_the_second_may_be_another(self, seen: Tensor) -> None:
        """The text that is read best stands alone for its feature; the next two outvote it."""
        z = normalize(seen, dim=1)
        c = contributions(z[:, :3] @ torch.diag(torch.tensor([2.0, 1.0, 1.0]).double()) + 0.05 * noise(N, 3))
        features = ("lone", "many", "many", "x", "x", "x", "y", "y", "y")
        pool = torch.cat([POOL, noise(3, E)])
        texts = tuple(f"text {i}" for i in range(9))
        plain = Readout(m=2, strength=1.0).fit(c, seen, pool, texts)
        grouped = Readout(m=2, strength=1.0).fit(c, seen, pool, texts, features=features)
        assert plain.labels_[0][0] == "text 0"
        assert features[grouped.readings_[0].indices[0]] == "many"
        assert plain.roles_ == ()

    def test_a_constant_has_no_role(self, seen: Tensor) -> None:
        c = contributions(torch.ones(N, 3).double())
        assert Readout().fit(c, seen, POOL, TEXTS, features=self.FEATURES).roles_ == (None,)

    def test_each_text_needs_a_feature(self, seen: Tensor) -> None:
        with pytest.raises(vd.InputError, match="one feature for each text: 2 features, 6 texts"):
            Readout().fit(contributions(seen), seen, POOL, TEXTS, features=("a", "b"))
