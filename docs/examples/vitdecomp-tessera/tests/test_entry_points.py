"""What `pyproject.toml` promises is found by its name, without an import."""

import pytest

import vitdecomp as vd
from vitdecomp.models.adapter import adapters
from vitdecomp.sources.aligner import aligners
from vitdecomp.trace.rule import RULES, load_rules


@pytest.mark.parametrize(("known", "name"), [(adapters, "tessera"), (vd.explainers, "erase"), (aligners, "ridge")])
def test_the_plugin_is_found(known, name) -> None:
    assert name in known()


def test_the_rule_is_found() -> None:
    load_rules()
    assert "tessera.shift_tokens" in [str(op) for op in RULES]
