"""The report in a terminal."""

import pytest
import torch
from rich.console import Console
from torchvision.models import VisionTransformer

import vitdecomp as vd
from vitdecomp.cli.inspect.report import show_report


@pytest.fixture(scope="module")
def report():
    torch.manual_seed(0)
    model = VisionTransformer(
        image_size=32, patch_size=8, num_layers=4, num_heads=3, hidden_dim=24, mlp_dim=48, num_classes=7
    )
    return vd.Decomposer(vd.LoadedModel(model.eval(), None, "m")).fit(torch.rand(1, 3, 32, 32)).report_


@pytest.mark.parametrize("columns", [80, 100, 200])
def test_numbers_are_whole_in_a_usual_terminal(report, columns):
    console = Console(width=columns)
    with console.capture() as capture:
        show_report(console, report, "noise")
    lines = capture.get().splitlines()
    assert max(map(len, lines)) <= columns
    row = next(line for line in lines if line.split()[:1] == ["encoder.layers.encoder_layer_0"])
    assert [word for word in row.split() if word.isdigit()] == ["3", "1"]
    assert next(line for line in lines if "inverse std" in line).split()[2] == "1"
