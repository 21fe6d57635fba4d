"""Arrays in parts are the arrays that numpy reads."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from vitdecomp.tables.npz import ArrayParts, write_npz

KINDS = st.sampled_from([np.float16, np.float32, np.float64, np.int64, np.dtype("<U3")])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(array=KINDS.flatmap(lambda kind: arrays(kind, array_shapes(max_dims=3, max_side=5))), size=st.integers(1, 4))
def test_numpy_reads_what_was_written_in_parts(tmp_path, array, size):
    parts = (array[start : start + size] for start in range(0, len(array), size))
    whole = ArrayParts.of(array.T)
    write_npz(tmp_path / "a.npz", {"parts": ArrayParts(array.shape, array.dtype, parts), "whole": whole})
    with np.load(tmp_path / "a.npz", allow_pickle=False) as read:
        np.testing.assert_array_equal(read["parts"], array)
        np.testing.assert_array_equal(read["whole"], array.T)
        assert read["parts"].dtype == array.dtype


def test_an_array_of_objects_is_never_pickled(tmp_path):
    objects = np.array([{}, None], dtype=object)
    with pytest.raises(ValueError, match="objects would be pickled"):
        write_npz(tmp_path / "a.npz", {"objects": ArrayParts.of(objects)})
    assert not [*tmp_path.iterdir()]
