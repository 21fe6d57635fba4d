"""Constants whose elements belong to the inputs of a batch in two orders are pulled to the right ones."""

from __future__ import annotations

import torch
from helpers import randomised
from torch import Tensor, nn

import vitdecomp as vd

FRAMES = 3


class TwoOrders(nn.Module):
    """Rows are `video * frames + frame`, but the class tokens of the first rows are taken for those of the videos."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(6, 8)
        self.position = nn.Parameter(torch.zeros(1, 5, 8))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 8))
        self.norm = nn.LayerNorm(8)

    def forward(self, x: Tensor) -> Tensor:
        n = x.shape[0]
        rows = self.embed(x.flatten(0, 1))
        rows = torch.cat([self.cls_token.expand(rows.shape[0], -1, -1), rows], 1) + self.position
        patches = rows[:, 1:].reshape(n, FRAMES * 4, 8)
        return self.norm(torch.cat([rows[:n, :1], patches], 1)).mean(1)


def test_push_is_pull_for_each_constant_and_input() -> None:
    source = torch.Generator().manual_seed(0)
    x = torch.randn(4, FRAMES, 4, 6, generator=source, dtype=torch.float64)
    q = torch.randn(2, 8, generator=source, dtype=torch.float64)
    for passes in ((), None):
        settings = {} if passes is None else {"passes": passes}
        dec = vd.Decomposer(randomised(TwoOrders()), cache=None, **settings).fit(x[:1])
        c = dec.transform(x)
        assert c.error.max() <= 1e-12
        assert sum(k.name == "const.position" for k in c.components) == 1
        pushed = torch.einsum("ncd,qd->nqc", c.values, q)
        torch.testing.assert_close(dec.attribute(x, q), pushed, atol=1e-12, rtol=0)
        position = pushed[:, :, [k.name for k in c.components].index("const.position")]
        assert (position[0] - position[1]).abs().max() > 1e-3  # to which video it goes makes a difference
