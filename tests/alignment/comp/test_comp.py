"""COMP: equal to a slow obvious version, and what it promises."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize
from vitdecomp_alignment.comp.comp import Comp

from vitdecomp.errors import InputError


def made(seed: int) -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(seed)
    draw = {"generator": source, "dtype": torch.float64}
    return torch.randn(6, 12, **draw), torch.randn(30, 12, **draw)


def closest(u: Tensor, columns: Tensor) -> Tensor:
    """Solve for non-negative weights by every possible support."""
    best = torch.zeros(len(columns), dtype=torch.float64)
    for size in range(1, len(columns) + 1):
        for support in map(list, combinations(range(len(columns)), size)):
            w = torch.zeros_like(best)
            w[support] = torch.linalg.lstsq(columns[support].T, u[:, None]).solution[:, 0]
            if bool((w >= 0).all()) and (u - w @ columns).norm() < (u - best @ columns).norm():
                best = w
    return best


@pytest.mark.parametrize("coherence", [0.0, 0.3])
def test_equals_a_slow_obvious_version(coherence: float) -> None:
    directions, texts = made(0)
    comp = Comp(m=4, coherence=coherence).fit(directions, texts)
    pool = normalize(texts, dim=1)
    for k, u in enumerate(normalize(directions, dim=1)):
        chosen: list[int] = []
        w = torch.zeros(0, dtype=torch.float64)
        for _ in range(4):
            r, scores = u - w @ pool[chosen], {}
            for i, t in enumerate(pool):
                if i not in chosen and r @ t > 1e-9:
                    near = sum(float(pool[j] @ t) for j in chosen) / max(len(chosen), 1)
                    scores[i] = float(r @ t) + coherence * near
            chosen.append(max(scores, key=lambda i: scores[i]))
            w = closest(u, pool[chosen])
        assert comp.indices_[k] == tuple(chosen)
        assert torch.allclose(torch.tensor(comp.weights_[k], dtype=torch.float64), w, atol=1e-9)


def test_finds_a_non_negative_sum_of_orthogonal_texts() -> None:
    texts = torch.eye(8, dtype=torch.float64)
    comp = Comp(m=5).fit(texts[2:3] * 2 + texts[5:6], texts, [str(i) for i in range(8)])
    assert comp.labels_ == (("2", "5"),)
    assert comp.similarity_[0] == pytest.approx(1)


def test_a_direction_away_from_all_texts_has_none() -> None:
    comp = Comp().fit(-torch.ones(1, 3), torch.eye(3))
    assert comp.indices_ == ((),)
    assert comp.similarity_.tolist() == [0]


def test_refuses_labels_of_another_number() -> None:
    with pytest.raises(InputError, match="one label for each text"):
        Comp().fit(torch.ones(1, 3), torch.ones(2, 3), ["one"])
