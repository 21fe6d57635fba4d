"""The page on rules does what it says, from the error to the opened gate."""

import re
import sys
import types
from pathlib import Path

import torch

from vitdecomp.trace.rule import NONLINEAR, OPENINGS, RULES
from vitdecomp.trace.steps import STEPS, kind_of

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "rule.md"


def test_the_page_runs(monkeypatch, capsys):
    text = PAGE.read_text(encoding="utf-8")
    module = types.ModuleType("howto_rule")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    try:
        for block in re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            code = "\n" * text[: block.start(1)].count("\n") + block.group(1)
            exec(compile(code, str(PAGE), "exec"), module.__dict__)
        step = module.swap_halves
        rows = torch.randn(3, 2, 6)
        found = kind_of(step).stacked(None, rows, {})
        assert found.equal(torch.stack([step(row) for row in rows]))
        contract = module.TestRollChannels()
        for case in contract.cases:
            contract.test_terms_sum_to_the_output(case)
            contract.test_terms_are_the_frozen_jacobian(case)
    finally:
        STEPS.remove(module.__dict__.get("swap_halves"))
        for table in (RULES, OPENINGS, NONLINEAR):
            for op in (torch.ops.howto.roll_channels, torch.ops.howto.peak_norm, torch.ops.howto.squared_relu):
                table.remove(op)
    shown = re.search(r"```text\n(.*?)```", text, re.DOTALL).group(1)
    assert without_place(shown) in without_place(capsys.readouterr().out)


def without_place(text):
    """The text on one line, without the name of the file and the number of the line."""
    return re.sub(r"\(\S+, line \d+", "(", " ".join(text.split()))
