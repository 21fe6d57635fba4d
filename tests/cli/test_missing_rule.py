"""`vitdecomp inspect` on an operation that nobody knows: where it is, and a rule that works when it is pasted."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import launched

MODEL = """
import timm
import torch
from torch import Tensor, nn


@torch.library.custom_op("missing::turn", mutates_args=())
def turn(by: int, x: Tensor) -> Tensor:
    return x.roll(by, -1)


@turn.register_fake
def _(by: int, x: Tensor) -> Tensor:
    return torch.empty_like(x)


turn.register_autograd(lambda ctx, grad: (None, grad.roll(-2, -1)))


class Turned(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.vit = timm.create_model("test_vit", img_size=32, num_classes=0)

    def forward(self, images: Tensor) -> Tensor:
        return turn(2, self.vit(images))


def build():
    return Turned()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "turned.py").write_text(MODEL)
    return tmp_path


def test_a_rule_is_shown_that_works_when_it_is_pasted(folder: Path) -> None:
    order = ("inspect", "python:turned:build", "--random-weights", "--image-size", "32", "--quiet")
    failed = launched(folder, *order)
    assert failed.returncode == 2
    line = MODEL.splitlines().index("        return turn(2, self.vit(images))") + 1
    place = f"the model itself (turned.py, line {line}: `return turn(2, self.vit(images))`; node turn)"
    assert f"error: no rule for missing.turn.default at {place}" in failed.stderr
    stub = failed.stdout.partition("\n\n")[2]
    assert "@vd.register_rule(torch.ops.missing.turn)" in stub
    (folder / "turned.py").write_text(f"{MODEL}\n{stub}")
    found = launched(folder, *order)
    assert found.returncode == 0
    assert "exact" in found.stdout
