import pytest
import torch

from tests.trace.rules.contract import is_source
from vitdecomp.testing import Case, Data, RuleContract, Size

aten = torch.ops.aten
X, V = Data(4, 6), Data(6)
IMAGE = Data(4, 6, 6)


class TestReshape(RuleContract):
    cases = (
        Case(aten.view.default, X, [Size(), 24]),
        Case(aten.view.default, X, [-1, 8]),
        Case(aten.view_copy.default, X, [Size(), 2, 12]),
        Case(aten._unsafe_view.default, X, [Size(), 24]),
        Case(aten.reshape.default, X, [-1, 24]),
        Case(aten._reshape_alias.default, X, [Size(), 24], [24, 1]),
        Case(aten.reshape_as.default, X, Data(6, 4)),
        Case(aten.view_as.default, X, Data(6, 4)),
        Case(aten.flatten.using_ints, X, 1),
        Case(aten.flatten.using_ints, X),
        Case(aten.unflatten.int, X, -1, [2, 3]),
        Case(aten.ravel.default, X),
        Case(aten.squeeze.default, Data(1, 6)),
        Case(aten.squeeze.dim, Data(1, 6), -2),
        Case(aten.squeeze.dims, Data(1, 6, 1), [1, 3]),
        Case(aten.squeeze_copy.dim, Data(1, 6), 1),
        Case(aten.unsqueeze.default, X, -1),
        Case(aten.unsqueeze_copy.default, X, 1),
        Case(aten.atleast_1d.default, X),
        Case(aten.atleast_2d.default, Data()),
        Case(aten.atleast_3d.default, V),
        Case(aten.permute.default, X, [2, 0, 1]),
        Case(aten.permute.default, X, [0, -1, -2]),
        Case(aten.permute_copy.default, X, [1, 0, 2]),
        Case(aten.transpose.int, X, -1, 0),
        Case(aten.transpose_copy.int, X, 1, 2),
        Case(aten.swapaxes.default, X, 1, -1),
        Case(aten.swapdims.default, X, 0, 1),
        Case(aten.t.default, V),
        Case(aten.t_copy.default, V),
        Case(aten.t.default, Data()),
        Case(aten.mT.default, X),
        Case(aten.mH.default, Data(4, 6, dtype=torch.complex128)),
        Case(aten.adjoint.default, X),
        Case(aten.adjoint.default, Data(4, 6, dtype=torch.complex128)),
        Case(aten.numpy_T.default, V),
        Case(aten.movedim.int, IMAGE, 1, -1),
        Case(aten.movedim.intlist, IMAGE, [0, -1], [2, 1]),
        Case(aten.moveaxis.int, Data(1, 1, 6), -1, 1),
        Case(aten.expand.default, Data(1, 6), [-1, 4, -1]),
        Case(aten.expand.default, V, [2, Size(), 6]),
        Case(aten.expand_as.default, Data(1, 6), X),
        Case(aten.expand_copy.default, Data(1, 6), [Size(), 4, 6]),
        Case(aten.broadcast_to.default, Data(1, 6), [Size(), 4, 6]),
        Case(aten.repeat.default, X, [1, 2, 3]),
        Case(aten.repeat.default, V, [2, 1, 3]),
        Case(aten.tile.default, X, [2]),
        Case(aten.tile.default, V, [2, 1, 3]),
        Case(aten.repeat_interleave.self_int, X, 3, 1),
        Case(aten.repeat_interleave.self_int, X, 2, 0),
        Case(aten.repeat_interleave.self_int, X, 2),
        Case(aten.roll.default, IMAGE, [1, -2], [2, -1]),
        Case(aten.roll.default, X, [5]),
        Case(aten.flip.default, X, [-1]),
        Case(aten.fliplr.default, X),
        Case(aten.flipud.default, X),
        Case(aten.rot90.default, IMAGE, 1, [2, 3]),
        Case(aten.tril.default, X, -1),
        Case(aten.triu.default, X, 1),
        Case(aten.diagonal.default, IMAGE, 1, -2, -1),
        Case(aten.diagonal_copy.default, IMAGE, 0, 2, 3),
        Case(aten.diag_embed.default, X, 1),
        Case(aten.trace.default, V),
        Case(aten.pixel_shuffle.default, IMAGE, 2),
        Case(aten.pixel_unshuffle.default, IMAGE, 3),
        Case(aten.im2col.default, IMAGE, [2, 3], [1, 1], [1, 0], [2, 1]),
        Case(aten.col2im.default, Data(8, 25), [6, 6], [2, 2], [1, 1], [0, 0], [1, 1]),
        Case(aten.unfold.default, IMAGE, 2, 3, 2),
        Case(aten.unfold.default, IMAGE, -1, 2, 1),
        Case(aten.unfold_copy.default, IMAGE, 1, 2, 2),
        Case(aten.channel_shuffle.default, IMAGE, 2),
        Case(aten.native_channel_shuffle.default, IMAGE, 2, formula=torch.nn.functional.channel_shuffle),
    )


@pytest.mark.parametrize("op", [aten.view.dtype, aten.view_copy.dtype], ids=str)
def test_bits_read_as_other_numbers_are_a_source(op):
    assert is_source(Case(op, X, torch.float32))
