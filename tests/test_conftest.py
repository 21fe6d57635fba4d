"""What the tests stand on: shapes are checked, and nobody listens to torch's structured trace."""

from __future__ import annotations

import importlib
import logging

import pytest
import torch
from jaxtyping import TypeCheckError
from torch._logging import trace_structured


@pytest.mark.parametrize(
    "name", ["vitdecomp.contributions", "vitdecomp_adapters.open_clip", "vitdecomp_alignment.aligners.coefficients"]
)
def test_modules_with_shapes_are_checked_at_each_call(name: str) -> None:
    assert "Jaxtyping" in type(importlib.import_module(name).__loader__).__name__


def test_a_wrong_shape_is_an_error_and_a_right_one_is_not() -> None:
    from vitdecomp._utils.tolerance import relative_error

    assert relative_error(torch.ones(2, 3), torch.ones(2, 3)).tolist() == [0, 0]
    with pytest.raises(TypeCheckError):
        relative_error(torch.ones(2, 3), torch.ones(2, 4))


def test_no_export_is_written_down_for_the_log() -> None:
    trace_structured("first", payload_fn=str)  # torch's own handler leaves when it is first asked
    written = []
    trace_structured("vitdecomp_test", payload_fn=lambda: written.append(1) or "payload")
    assert not written
    assert logging.getLogger("torch.__trace").propagate
