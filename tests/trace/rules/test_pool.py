import pytest
import torch

from tests.trace.rules.contract import is_source
from vitdecomp.testing import Case, Data, Frozen, RuleContract

aten = torch.ops.aten
F = torch.nn.functional
X, LINE, IMAGE, SPACE = Data(4, 6), Data(3, 8), Data(2, 6, 7), Data(2, 4, 5, 4)


def grid(*shape):
    return Frozen(*shape, make=torch.tanh)


def pooled(fn):
    """A maximum as its own indices say."""

    def formula(x, *settings):
        _, indices = fn(x, *settings, return_indices=True)
        spatial = {F.max_pool1d: 1, F.adaptive_max_pool1d: 1, F.max_pool3d: 3, F.adaptive_max_pool3d: 3}.get(fn, 2)
        return x.flatten(-spatial).gather(-1, indices.flatten(-spatial)).reshape(indices.shape)

    return formula


def along(dim, fn):
    """One or several elements along an axis, as the operation's own indices say."""

    def formula(x, *settings, **named):
        indices = fn(x, *settings, **named)[1]
        if indices.ndim < x.ndim:
            return x.gather(dim, indices.unsqueeze(dim)).squeeze(dim)
        return x.gather(dim, indices)

    return formula


def extreme(best):
    def formula(x, dims=(), keepdim=False):
        frozen = x.detach()
        mask = frozen == best(frozen, tuple(dims), True)
        return (x * mask).sum(tuple(dims), keepdim)

    return formula


class TestPool(RuleContract):
    cases = (
        Case(aten.avg_pool1d.default, LINE, [3], [2], [1], True, False),
        Case(aten.avg_pool2d.default, IMAGE, [2, 3]),
        Case(aten.avg_pool2d.default, IMAGE, [3, 3], [2, 2], [1, 1], True, True),
        Case(aten.avg_pool2d.default, IMAGE, [3, 3], [2, 2], [1, 1], True, False, 5),
        Case(aten.avg_pool3d.default, SPACE, [2, 2, 2], [1, 2, 2], [1, 0, 1], True, False),
        Case(aten.adaptive_avg_pool1d.default, LINE, [3]),
        Case(aten.adaptive_avg_pool2d.default, IMAGE, [1, 1]),
        Case(aten.adaptive_avg_pool2d.default, IMAGE, [4, 3]),
        Case(aten._adaptive_avg_pool2d.default, IMAGE, [4, 3]),
        Case(aten.adaptive_avg_pool3d.default, SPACE, [2, 3, 1]),
        Case(aten._adaptive_avg_pool3d.default, SPACE, [2, 3, 1]),
        Case(aten.upsample_nearest1d.default, LINE, [11]),
        Case(aten.upsample_nearest1d.vec, LINE, None, [1.5]),
        Case(aten.upsample_nearest2d.default, IMAGE, [9, 5]),
        Case(aten.upsample_nearest2d.vec, IMAGE, None, [2.0, 0.5]),
        Case(aten.upsample_nearest3d.vec, SPACE, [5, 5, 5], None),
        Case(aten._upsample_nearest_exact1d.vec, LINE, [5], None),
        Case(aten._upsample_nearest_exact2d.vec, IMAGE, [9, 5], None),
        Case(aten._upsample_nearest_exact3d.vec, SPACE, None, [1.5, 2.0, 0.5]),
        Case(aten._upsample_nearest_exact2d.default, IMAGE, [9, 5], 1.5, None),
        Case(aten.upsample_linear1d.vec, LINE, [12], True, None),
        Case(aten.upsample_bilinear2d.default, IMAGE, [9, 5], False),
        Case(aten.upsample_bilinear2d.vec, IMAGE, None, True, [2.0, 1.5]),
        Case(aten.upsample_trilinear3d.vec, SPACE, [5, 5, 5], False, None),
        Case(aten.upsample_bicubic2d.default, IMAGE, [9, 5], False),
        Case(aten.upsample_bicubic2d.vec, IMAGE, None, False, [2.0, 2.0]),
        Case(aten._upsample_bilinear2d_aa.vec, IMAGE, [4, 9], False, None),
        Case(aten._upsample_bicubic2d_aa.default, IMAGE, [4, 9], False),
        Case(aten.grid_sampler.default, IMAGE, grid(4, 4, 2), 0, 0, False),
        Case(aten.grid_sampler_2d.default, IMAGE, grid(4, 4, 2), 1, 1, True),
        Case(aten.grid_sampler_3d.default, SPACE, grid(2, 2, 2, 3), 0, 0, False),
        Case(aten.max_pool1d.default, LINE, [3], [2], [1], [1], True, formula=pooled(F.max_pool1d)),
        Case(aten.max_pool1d_with_indices.default, LINE, [2], pick=0, formula=pooled(F.max_pool1d)),
        Case(aten.max_pool2d.default, IMAGE, [2, 2], formula=pooled(F.max_pool2d)),
        Case(aten.max_pool2d.default, IMAGE, [3, 2], [2, 1], [1, 1], [1, 2], True, formula=pooled(F.max_pool2d)),
        Case(aten.max_pool2d_with_indices.default, IMAGE, [3, 3], [2, 2], pick=0, formula=pooled(F.max_pool2d)),
        Case(aten.max_pool3d.default, SPACE, [2, 2, 2], formula=pooled(F.max_pool3d)),
        Case(aten.max_pool3d_with_indices.default, SPACE, [2, 2, 2], pick=0, formula=pooled(F.max_pool3d)),
        Case(aten.adaptive_max_pool1d.default, LINE, [3], pick=0, formula=pooled(F.adaptive_max_pool1d)),
        Case(aten.adaptive_max_pool2d.default, IMAGE, [2, 3], pick=0, formula=pooled(F.adaptive_max_pool2d)),
        Case(aten.adaptive_max_pool3d.default, SPACE, [2, 2, 1], pick=0, formula=pooled(F.adaptive_max_pool3d)),
        Case(aten.amax.default, IMAGE, [2, -1], formula=extreme(torch.amax)),
        Case(aten.amax.default, IMAGE, [1, 3], True, formula=extreme(torch.amax)),
        Case(aten.amax.default, X, [-2], formula=extreme(torch.amax)),
        Case(aten.amin.default, X, [1], True, formula=extreme(torch.amin)),
        Case(aten.amin.default, X, formula=extreme(torch.amin)),
        Case(aten.max.dim, X, -1, pick=0, formula=along(-1, torch.max)),
        Case(aten.max.dim, X, 1, True, pick=0, formula=along(1, torch.max)),
        Case(aten.min.dim, X, 1, pick=0, formula=along(1, torch.min)),
        Case(aten.median.dim, X, -2, pick=0, formula=along(-2, torch.median)),
        Case(aten.nanmedian.dim, X, 1, True, pick=0, formula=along(1, torch.nanmedian)),
        Case(aten.mode.default, X, 1, pick=0, formula=along(1, torch.mode)),
        Case(aten.kthvalue.default, X, 2, 1, pick=0, formula=along(1, torch.kthvalue)),
        Case(aten.kthvalue.default, X, 3, -1, True, pick=0, formula=along(-1, torch.kthvalue)),
        Case(aten.topk.default, X, 2, 1, pick=0, formula=along(1, torch.topk)),
        Case(aten.topk.default, X, 3, -1, False, pick=0, formula=along(-1, torch.topk)),
        Case(aten.sort.default, X, 1, pick=0, formula=along(1, torch.sort)),
        Case(aten.sort.stable, X, stable=True, dim=1, descending=True, pick=0, formula=along(1, torch.sort)),
    )


@pytest.mark.parametrize(
    "case",
    [
        Case(aten.max.dim, X, -1, pick=1),
        Case(aten.topk.default, X, 2, 1, pick=1),
        Case(aten.max_pool2d_with_indices.default, IMAGE, [2, 2], pick=1),
        Case(aten.max.default, X),
        Case(aten.median.default, X),
        Case(
            aten.grid_sampler.default,
            torch.ones(3, 2, 4, 4, dtype=torch.float64),
            grid(4, 4, 2),
            0,
            0,
            False,
            sizes=(3,),
        ),
    ],
    ids=str,
)
def test_sources(case):
    assert is_source(case)
