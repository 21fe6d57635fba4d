"""Every rule and every opening has a case of the contract: a new one without a test fails here."""

import importlib
from pathlib import Path

import pytest
import torch

from vitdecomp.testing import RuleContract
from vitdecomp.trace import rules
from vitdecomp.trace.rule import OPENINGS, RULES

aten = torch.ops.aten

# Rules whose answer is always that the operation is a source.
SOURCES = {aten.view.dtype, aten.view_copy.dtype}
# Operations that run on other hardware only.
ELSEWHERE = {
    aten.cudnn_batch_norm, aten._scaled_dot_product_flash_attention, aten._scaled_dot_product_cudnn_attention,
    aten._scaled_dot_product_efficient_attention, aten._scaled_dot_product_fused_attention_overrideable,
}  # fmt: skip


def _cases(opened):
    """Operations, and all their overloads together, that a contract test in this folder has a case for."""
    found = set()
    for file in sorted(Path(__file__).parent.glob("test_*.py")):
        module = importlib.import_module(f"tests.trace.rules.{file.stem}")
        for contract in vars(module).values():
            if isinstance(contract, type) and issubclass(contract, RuleContract) and contract is not RuleContract:
                ops = [case.op for case in contract.cases if case.opened == opened]
                found.update(ops, (op.overloadpacket for op in ops))
    return found


@pytest.mark.parametrize("opened", [False, True], ids=["rules", "openings"])
def test_every_rule_has_a_case(opened):
    table = OPENINGS if opened else RULES
    ours = {op for op in table if table[op].__module__.startswith(rules.__name__)}
    missing = ours - _cases(opened) - SOURCES - ELSEWHERE
    assert not missing, f"no contract case for {sorted(map(str, missing))}"


def test_every_operation_has_one_entry():
    from vitdecomp.trace.rule import NONLINEAR

    assert not {str(op) for op in NONLINEAR} & {str(op) for op in RULES}
