"""What is written of a component can be read back within what is promised, and encodings only ever grow."""

import numpy as np
import pytest

import vitdecomp as vd
from vitdecomp.store.encoding import FEW, FORMATS, PRECISIONS, TOP, first_encoding, fitting

D = 24


def low_rank(n, rank, seed=0, size=1.0):
    """Contributions that lie in `rank` dimensions, the first of the same ones for every seed."""
    span = np.random.default_rng(99).standard_normal((D, D))[:rank]
    return size * np.random.default_rng(seed).standard_normal((n, rank)) @ span


def decoded(encoding, stored):
    coefficients = encoding.coefficients(stored).astype(np.float64)
    return coefficients if encoding.basis is None else coefficients @ encoding.basis.T.astype(np.float64)


def away(encoding, values):
    found = decoded(encoding, encoding.code(values).stored)
    return np.linalg.norm(found - values, axis=1) / np.linalg.norm(values, axis=1).clip(1e-300)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("rank", [1, 5, D // 2, D // 2 + 1, D])
def test_the_promise_is_kept_and_the_loss_is_what_it_is_said_to_be(precision, rank):
    values = np.random.default_rng(1).standard_normal((40, rank)) @ np.random.default_rng(2).standard_normal((rank, D))
    encoding = first_encoding(values, precision)
    assert encoding.width == (rank if 2 * rank <= D else D)
    assert (encoding.basis is None) == (2 * rank > D)
    loss = encoding.code(values).loss
    assert np.allclose(loss, away(encoding, values), rtol=1e-6, atol=1e-17)
    assert loss.max() <= PRECISIONS[precision].promise
    if precision == "float16":
        assert loss.max() > 1e-5


def test_a_basis_is_orthonormal_and_as_small_as_it_can_be():
    encoding = first_encoding(low_rank(40, 5), "float16")
    assert encoding.basis is not None
    assert encoding.basis.shape == (D, 5)
    assert np.allclose(encoding.basis.T @ encoding.basis, np.eye(5), atol=1e-6)


def test_a_faint_image_counts_as_much_as_a_strong_one():
    values = low_rank(40, 3)
    values[7] = 1e-6 * np.random.default_rng(5).standard_normal(D)
    encoding = first_encoding(values, "float16")
    assert encoding.width == 4
    assert away(encoding, values).max() < 5e-4


@pytest.mark.parametrize("size", [1e-30, 1e-9, 1e9, 1e30])
def test_the_scale_keeps_float16_in_its_range(size):
    values = low_rank(40, 4, size=size)
    encoding = first_encoding(values, "float16")
    assert encoding.format == "float16"
    assert away(encoding, values).max() < 5e-4
    assert np.abs(encoding.code(values).stored).max() <= TOP


def test_what_float16_cannot_hold_is_written_wider():
    values = low_rank(40, 4)
    values[0] *= 1e12
    encoding = first_encoding(values, "float16")
    assert encoding.format == "float32"
    assert away(encoding, values).max() < 5e-4


def test_many_images_that_fill_all_that_they_can_fill_have_full_rank():
    rng = np.random.default_rng(0)
    full = rng.standard_normal((FEW, 4 * FEW))
    assert first_encoding(full, "float16").basis is None
    assert first_encoding(full[: FEW - 1], "float16").width == FEW - 1
    assert first_encoding(full[:, :64] @ rng.standard_normal((64, 4 * FEW)), "float16").width == 64


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_does_not_vary_is_not_stored(precision):
    values = np.tile(low_rank(1, 6), (9, 1))
    encoding = first_encoding(values, precision)
    assert encoding.fixed
    assert encoding.width == 1
    assert np.allclose(decoded(encoding, encoding.held(9)), values, rtol=1e-6)
    nothing = first_encoding(np.zeros((9, D)), precision)
    assert nothing.fixed
    assert nothing.width == 0
    assert not decoded(nothing, nothing.held(9)).any()
    assert not first_encoding(values * np.linspace(1, 1.01, 9)[:, None], precision).fixed


def test_what_fits_is_left_alone():
    encoding = first_encoding(low_rank(40, 5), "float16")
    assert fitting(encoding, low_rank(40, 5, seed=3), "float16") is encoding
    assert fitting(encoding, np.zeros((3, D)), "float16") is encoding


CHANGES = {
    "wider": (low_rank(40, 5), low_rank(40, 9, 1)),
    "full": (low_rank(40, 5), low_rank(40, 20, 1)),
    "larger": (low_rank(40, 5), low_rank(40, 5, 1, size=1e6)),
    "no longer fixed": (np.tile(low_rank(1, 6), (9, 1)), low_rank(40, 6, 1)),
    "fixed elsewhere": (np.tile(low_rank(1, 6), (9, 1)), np.tile(low_rank(1, 6, 1), (9, 1))),
    "no longer nothing": (np.zeros((9, D)), low_rank(40, 6, 1)),
    "from one image": (low_rank(1, 6), low_rank(40, 6, 1)),
}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("change", CHANGES)
def test_what_is_written_is_carried_over_without_a_change(precision, change):
    first, second = CHANGES[change]
    old = first_encoding(first, precision)
    new = fitting(old, second, precision)
    if new is old:
        assert (change, precision) in {("larger", "float32"), ("larger", "float64")}
        return
    assert new.generation == old.generation + 1
    assert not new.fixed
    assert FORMATS.index(new.format) >= FORMATS.index(old.format)
    assert new.basis is not None
    assert old.basis is not None
    assert np.array_equal(new.basis[:, : old.width], old.basis)
    assert np.allclose(new.basis.T @ new.basis, np.eye(new.width), atol=1e-6)
    assert away(new, second).max() <= PRECISIONS[precision].promise
    stored = old.code(first).stored
    carried = new.coefficients(new.carried(stored))
    assert np.array_equal(carried[:, : old.width], old.coefficients(stored))
    assert not carried[:, old.width :].any()


def test_a_component_of_full_rank_stays_what_it_is():
    full = first_encoding(low_rank(40, 20), "float16")
    assert fitting(full, low_rank(40, 24, 1), "float16") is full


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_refused(bad):
    values, encoding = low_rank(40, 5), first_encoding(low_rank(40, 5), "float16")
    values[3, 3] = bad
    for attempt in (lambda: first_encoding(values, "float16"), lambda: fitting(encoding, values, "float16")):
        with pytest.raises(vd.InputError, match="NaN or infinity"):
            attempt()
