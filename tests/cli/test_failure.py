"""What a user can mend is one line, whoever raised it."""

import pytest
import torch
import typer

from vitdecomp.cli.failure import errors_in_one_line


@torch.library.custom_op("vitdecomp_tests::without_derivative", mutates_args=())
def without_derivative(x: torch.Tensor) -> torch.Tensor:
    return x.clone()


def test_an_operation_without_a_derivative_is_named_in_one_line(capsys):
    with pytest.raises(typer.Exit), errors_in_one_line(resumes=False):
        without_derivative(torch.ones(2, requires_grad=True)).sum().backward()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: Trying to backward through vitdecomp_tests.without_derivative")
    assert "register_autograd" in line
    with pytest.raises(RuntimeError, match="a bug"), errors_in_one_line(resumes=False):
        raise RuntimeError("a bug")
