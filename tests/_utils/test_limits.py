"""One limit for each kind of thing that others wrote."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitdecomp import InputError
from vitdecomp._utils.limits import LimitedReader, check_size


@given(size=st.integers(0, 2**40), most=st.integers(0, 2**40))
def test_what_is_larger_than_the_limit_is_refused_and_nothing_else(size, most):
    if size <= most:
        check_size(size, most, "x")
        return
    with pytest.raises(InputError, match=rf"^x has {size:,} bytes, and no more than {most:,} are read; mend it$"):
        check_size(size, most, "x", "mend it")


@given(data=st.binary(max_size=40), start=st.integers(0, 40), size=st.integers(-1, 50), most=st.integers(0, 50))
def test_a_limited_reader_reads_what_the_file_would_or_refuses(data, start, size, most):
    plain, limited = io.BytesIO(data), LimitedReader(io.BytesIO(data), most, "x")
    assert limited.seek(start) == plain.seek(start)
    asked = max(len(data) - start, 0) if size < 0 else size
    if asked > most:
        with pytest.raises(InputError, match="x has"):
            limited.read(size)
        assert limited.tell() == start
    else:
        assert limited.read(size) == plain.read(size)
        assert limited.tell() == plain.tell()
