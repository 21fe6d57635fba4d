import pytest
import torch

from tests.trace.rules.contract import constants, is_source
from vitdecomp.testing import Case, Data, Frozen, RuleContract, Size

aten = torch.ops.aten
X, IMAGE = Data(4, 6), Data(4, 6, 6)
FIRST, PAIR = torch.tensor([2, 0, 0]), torch.tensor([[1], [3]])
MASK = torch.tensor([True, False, True, True])
LAST = 2**63 - 1


class TestSlicing(RuleContract):
    cases = (
        Case(aten.select.int, X, 1, 0),
        Case(aten.select.int, X, -1, -2),
        Case(aten.select.int, X, 0, -1),
        Case(aten.select_copy.int, X, 2, 3),
        Case(aten.slice.Tensor, X, 1, 1, LAST),
        Case(aten.slice.Tensor, X, -1, -3, -1),
        Case(aten.slice.Tensor, X, 1, -9, 2),
        Case(aten.slice.Tensor, X, 1, None, 2),
        Case(aten.slice.Tensor, X, 1, 0, 3, 2),
        Case(aten.slice.Tensor, X, 2, 1, LAST, 2),
        Case(aten.slice.Tensor, X, 0, 1, LAST),
        Case(aten.slice.Tensor, X),
        Case(aten.slice.Tensor, X, 0, 1),
        Case(aten.slice.Tensor, X, 0, 0, 3),  # all of the trial batch, but not of a larger one
        Case(aten.slice.Tensor, X, 0, 0, -1),
        Case(aten.slice.Tensor, X, 1, 4, 2),
        Case(aten.slice_copy.Tensor, X, 2, 2, 5),
        Case(aten.narrow.default, X, 1, 1, 2),
        Case(aten.narrow.default, X, -1, -2, 2),
        Case(aten.narrow.default, X, 0, -2, 2),
        # Its own derivative came to torch later than 2.11.
        Case(aten.narrow_copy.default, X, 2, 1, 2, formula=torch.narrow),
        Case(aten.unbind.int, X, 1, pick=3),
        Case(aten.unbind_copy.int, X, -1, pick=0),
        Case(aten.split.Tensor, X, 4, -1, pick=1),
        Case(aten.split.sizes, X, [1, 5], 2, pick=1),
        Case(aten.split.Tensor, X, 1, pick=1),
        Case(aten.split_copy.Tensor, X, 3, 1, pick=0),
        Case(aten.unsafe_split.Tensor, X, 2, 1, pick=1),
        Case(aten.chunk.default, X, 3, 2, pick=2),
        Case(aten.chunk.default, X, 2, pick=1, sizes=(3, 4, 6)),
        Case(aten.unsafe_chunk.default, X, 2, 1, pick=1),
        Case(aten.tensor_split.sections, X, 3, 1, pick=0),
        Case(aten.tensor_split.indices, X, [1, 4], -1, pick=1),
        Case(aten.split_with_sizes.default, X, [1, 3], 1, pick=1),
        Case(aten.split_with_sizes.default, Data(2, 3, batch=1), [1, 1], pick=1),
        Case(aten.split_with_sizes.default, X, [Size()], pick=0),
        Case(aten.unsafe_split_with_sizes.default, X, [2, 2, 2], -1, pick=2),
        Case(aten.split_with_sizes_copy.default, X, [1, 3], 1, pick=0),
        Case(aten.index.Tensor, X, [None, FIRST]),
        Case(aten.index.Tensor, IMAGE, [None, FIRST, None, FIRST]),
        Case(aten.index.Tensor, IMAGE, [None, None, PAIR, FIRST]),
        Case(aten.index.Tensor, X, [None, MASK]),
        Case(aten.index.Tensor, X, [None, Frozen(4, make=lambda x: x.argsort(-1))]),
        Case(aten._unsafe_index.Tensor, IMAGE, [None, None, PAIR, FIRST]),
        Case(aten.index_select.default, X, -1, FIRST),
        Case(aten.gather.default, X, 1, Frozen(2, 6, make=lambda x: x.argsort(1))),
        Case(aten.take_along_dim.default, X, Frozen(4, 1, make=lambda x: x.argsort(1)), 1),
        Case(aten.take.default, X, FIRST),
        Case(aten.repeat_interleave.self_Tensor, X, torch.tensor([1, 0, 2, 1]), 1),
        Case(aten.masked_select.default, Data(4, batch=None), MASK),
        Case(aten.pad.default, X, [1, 2]),
        Case(aten.pad.default, X, [1, 2, 0, 1], "constant", 3.0),
        Case(aten.pad.default, X, [-1, 2], "constant", -1.0),
        Case(aten.pad.default, X, [-2, -1]),
        Case(aten.pad.default, X, [1, 1], "reflect"),
        Case(aten.pad.default, IMAGE, [1, 1, 2, 0], "replicate"),
        Case(aten.pad.default, IMAGE, [1, 1, 2, 0], "circular"),
        Case(aten.constant_pad_nd.default, IMAGE, [1, 1, 0, 2]),
        Case(aten.constant_pad_nd.default, IMAGE, [1, 1, 0, 2], 2.0),
        Case(aten.constant_pad_nd.default, Data(3, batch=1), [0, 0, 1, 1], 2.0),
        Case(aten.reflection_pad1d.default, X, [2, 1]),
        Case(aten.reflection_pad2d.default, IMAGE, [2, 1, 1, 0]),
        Case(aten.reflection_pad3d.default, Data(1, 3, 3, 3), [1, 1, 1, 0, 0, 1]),
        Case(aten.replication_pad1d.default, X, [2, 1]),
        Case(aten.replication_pad2d.default, IMAGE, [2, 1, 1, 0]),
        Case(aten.replication_pad3d.default, Data(1, 3, 3, 3), [1, 1, 1, 0, 0, 1]),
        Case(aten._pad_circular.default, IMAGE, [2, 1, 1, 0]),
    )


def test_fills_are_constants():
    assert constants(Case(aten.pad.default, X, [1, 2])) == 0
    assert constants(Case(aten.pad.default, X, [1, 2], "constant", 0.0)) == 0
    assert constants(Case(aten.pad.default, X, [1, 2], "constant", 3.0)) == 1


TABLE = torch.linspace(0, 1, 48, dtype=torch.float64).reshape(8, 6)
INDEX = Frozen(4, make=lambda x: x.argsort(-1))


@pytest.mark.parametrize(
    "case",
    [
        Case(aten.index.Tensor, TABLE, [INDEX]),
        Case(aten.index_select.default, TABLE, 0, Frozen(make=lambda x: x.argsort(-1))),
        Case(aten.embedding.default, TABLE, INDEX),
        Case(aten.gather.default, TABLE, 0, Frozen(6, make=lambda x: x.argsort(0))),
    ],
    ids=str,
)
def test_parameters_looked_up_by_the_image_are_a_source(case):
    assert is_source(case)
