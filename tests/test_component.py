"""Component keys and what patterns mean for them."""

from __future__ import annotations

import pytest

from vitdecomp import Component

HEAD = Component("blocks.3.attn.head.5", "attn", "blocks.3", "blocks.3.attn", head=5)
BIAS = Component("bias.blocks.3.attn.proj", "const", module="blocks.3.attn.proj")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("blocks.3.attn.*", True),
        ("*.attn.*", True),
        ("*", True),
        ("blocks.3.mlp", False),
        ("blocks.[01].*", False),
    ],
)
def test_parts_match_shell_patterns(pattern: str, expected: bool) -> None:
    assert HEAD.matches(pattern) is expected


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [("*.attn.*", False), ("?ias*", False), ("bias.*", True), ("bias.blocks.3.*", True), ("*", True)],
)
def test_constants_answer_only_to_patterns_that_name_them(pattern: str, expected: bool) -> None:
    assert BIAS.matches(pattern) is expected


def test_any_of_several_patterns() -> None:
    assert HEAD.matches(["nothing", "*.head.5"])
    assert not HEAD.matches([])


def test_keys_are_hashable_and_ordered() -> None:
    assert len({HEAD, BIAS, HEAD}) == 2
    assert sorted([HEAD, BIAS])[0] is BIAS
    assert str(HEAD) == "blocks.3.attn.head.5"
