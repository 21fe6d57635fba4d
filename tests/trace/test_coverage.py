"""What counts as a missing part, and what as the making of the embedding."""

import torch
from timm.models.vision_transformer import Block
from torch import nn

import vitdecomp as vd
from vitdecomp.testing import randomise


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(width, width, 3, 1, 1), nn.Conv2d(width, width, 3, 1, 1)

    def forward(self, x):
        return x + self.conv2(self.conv1(x).relu())


class ClassToken(nn.Module):
    """Patches by several convolutions, then blocks that a class token reads; perhaps a stage before them."""

    def __init__(self, early=False):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 12, 3, 2, 1), nn.GELU(), Residual(12), nn.GELU(), nn.Conv2d(12, 16, 2, 2)
        )
        self.early = Block(16, 2) if early else None
        self.token = nn.Parameter(torch.zeros(1, 1, 16))
        self.blocks = nn.Sequential(Block(16, 2), Block(16, 2))

    def forward(self, x):
        x = self.stem(x).flatten(2).transpose(1, 2)
        if self.early is not None:
            x = self.early(x).softmax(-1)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1)
        return self.blocks(x)[:, 0]


def missing(model):
    randomise(model.double().eval())
    dec = vd.Decomposer(model).fit(torch.randn(2, 3, 16, 16, dtype=torch.float64))
    assert float(dec.transform(torch.randn(3, 3, 16, 16, dtype=torch.float64)).error.max()) < 1e-12
    return {site.name for site in dec.report_.missing}


def test_the_convolutions_that_make_the_tokens_are_no_missing_blocks():
    assert missing(ClassToken()) == set()


def test_a_stage_that_the_path_cannot_reach_is_missing_with_all_that_lies_before_it():
    assert missing(ClassToken(early=True)) >= {"early.attn", "early.mlp", "stem.2"}
