"""Models that no graph can hold are refused in one line, which says what and where."""

from __future__ import annotations

import pytest
import torch
from helpers import randomised
from torch import Tensor, nn
from torch.nn.attention.flex_attention import flex_attention

import vitdecomp as vd

WIDTH = 16


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.qkv, self.proj = (
            nn.Conv2d(3, WIDTH, 4, 4),
            nn.Linear(WIDTH, 3 * WIDTH),
            nn.Linear(WIDTH, WIDTH),
        )

    def tokens(self, x: Tensor) -> Tensor:
        return self.embed(x).flatten(2).mT

    def split(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.qkv(x).unflatten(2, (3, 2, -1)).permute(2, 0, 3, 1, 4).unbind()


class Flexible(Tokens):
    def forward(self, x: Tensor) -> Tensor:
        x = self.tokens(x)
        found: Tensor = x + self.proj(flex_attention(*self.split(x)).transpose(1, 2).flatten(2))  # type: ignore[union-attr]
        return found.mean(1)


class Sampled(Tokens):
    """Tokens that are large enough, by those of the first image."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.tokens(x)
        size = x.norm(dim=-1)
        x = x[:, (size > size.median())[0].nonzero()[:, 0]]
        return (x + self.proj(x)).mean(1)


class Padded(Tokens):
    def forward(self, x: Tensor) -> Tensor:
        x = nn.utils.rnn.pad_sequence(list(self.tokens(x).unbind()), batch_first=True)
        return (x + self.proj(torch.relu(x))).mean(1)


class OneByOne(Tokens):
    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([(x + self.proj(torch.relu(x))).mean(0) for x in self.tokens(x).unbind()])


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Flexible, "cannot capture flex_attention at the model itself: call F.scaled_dot_product_attention"),
        (Sampled, "depends? on the values of the images"),
        (Padded, "cannot capture pad_sequence at the model itself: let the model compute the images of a batch as one"),
        (OneByOne, "takes the images of a batch apart"),
    ],
)
def test_the_error_says_what_and_what_to_do(kind: type[nn.Module], message: str) -> None:
    torch.manual_seed(0)
    with pytest.raises(vd.TraceError, match=message) as raised:
        vd.Decomposer(randomised(kind()), cache=None).fit(torch.randn(1, 3, 16, 16, dtype=torch.float64))
    assert "\n" not in str(raised.value)
