"""What the tests stand on: shapes are checked, and nobody listens to torch's structured trace."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable

import pytest
import shape_checks
import torch
from beartype import beartype
from jaxtyping import Float, TypeCheckError
from torch import Tensor
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


def test_functions_of_one_code_are_checked_with_the_variables_of_each() -> None:
    def scaled_by(factor: float) -> Callable[[Tensor], Tensor]:
        def scale(x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
            return factor * x if factor < 4 else twice(thrice(x))

        return shape_checks.decorated(beartype, scale)

    twice, thrice, both = scaled_by(2), scaled_by(3), scaled_by(4)
    for scale, wanted in ((twice, 2), (thrice, 3), (both, 6), (twice, 2)):
        assert scale(torch.ones(1, 2)).tolist() == [[wanted, wanted]]
        with pytest.raises(TypeCheckError):
            scale(torch.ones(2))


def test_no_export_is_written_down_for_the_log() -> None:
    trace_structured("first", payload_fn=str)  # torch's own handler leaves when it is first asked
    written = []
    trace_structured("vitdecomp_test", payload_fn=lambda: written.append(1) or "payload")
    assert not written
    assert logging.getLogger("torch.__trace").propagate
