"""A model that cannot be captured: what, where in the user's code, what to do, and nothing else."""

from __future__ import annotations

import pytest
import torch
from helpers import pictures
from torch import Tensor, nn

import vitdecomp as vd


class Inner(nn.Module):
    """A part whose values decide."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.linear = kind, nn.Linear(48, 6)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear(x.flatten(1)[:, :48])
        if self.kind == "if" and y.sum() > 0:
            return 2 * y
        if self.kind == "item":
            return y * int((y > 0).sum().item())
        if self.kind == "nonzero":
            return y[:, torch.nonzero(y[0] > -9)[:, 0]][:, : int(y.max().abs().item()) + 2]
        return y


def model(kind: str) -> nn.Module:
    return nn.Sequential(nn.Identity(), nn.Sequential(nn.Identity(), Inner(kind)))


@pytest.mark.parametrize(
    ("kind", "code"), [("if", "y.sum() > 0"), ("item", "int((y > 0).sum().item())"), ("nonzero", "torch.nonzero")]
)
def test_values_that_decide(kind: str, code: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(vd.TraceError) as raised:
        vd.Decomposer(model(kind).eval(), cache=None).fit(pictures(2, 16).float())
    text = str(raised.value)
    assert "depend on the values of the images, at 1.1 (test_refusal.py, line" in text
    assert code in text
    assert "then try again" in text
    assert len(text) < 500
    assert "\n" not in text
    out, err = capfd.readouterr()
    assert "def forward" not in out + err
    assert len(err.splitlines()) < 3


def test_a_model_without_such_values_is_captured() -> None:
    images = pictures(2, 16)
    assert vd.Decomposer(model("").double().eval(), cache=None).fit(images).report_.exact
