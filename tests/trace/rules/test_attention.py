import math

import pytest
import torch

from tests.trace.rules.contract import is_source
from vitdecomp.testing import Case, Data, Frozen, RuleContract
from vitdecomp.trace.rules.attention import attention_pattern, value_term

aten = torch.ops.aten
SDPA = aten.scaled_dot_product_attention.default
Q, K, V = Data(2, 3, 4), Data(2, 5, 4), Data(2, 5, 4)
ONE = Data(2, 1, 4)
SEEN = torch.tensor([[True, True, False, True, False], [False] * 4 + [True], [True] * 5])
BIAS = torch.linspace(-1, 1, 15, dtype=torch.float64).reshape(3, 5)
BLIND = torch.tensor([[True] * 5, [False] * 5, [True] * 5])


def attend(q, k, v, mask=None, dropout=0.0, causal=False, *, scale=None, enable_gqa=False, attn_mask=None):
    """Softmax attention written out, with the pattern detached."""
    if enable_gqa:
        k, v = (x.repeat_interleave(q.shape[-3] // k.shape[-3], -3) for x in (k, v))
    scores = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)
    mask = attn_mask if mask is None else mask
    if causal:
        mask = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril()
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf) if mask.dtype is torch.bool else scores + mask
    return scores.softmax(-1).nan_to_num(0.0).detach() @ v


def attend_with_bias(q, k, v, bias, *_, **named):
    return attend(q, k, v, bias, **named)


def attend_flash(q, k, v, dropout=0.0, causal=False, *_, **named):
    return attend(q, k, v, None, dropout, causal, **named)


def product(a, b):
    return a.detach() @ b


class TestAttention(RuleContract):
    cases = tuple(
        Case(*args, opened=True, formula=formula, **named)
        for formula, args, named in (
            (attend, (SDPA, Q, K, V), {}),
            (attend, (SDPA, Q, K, V), {"scale": 0.3}),
            (attend, (SDPA, Q, K, V, SEEN), {}),
            (attend, (SDPA, Q, K, V, BIAS), {"scale": 1.5}),
            (attend, (SDPA, Q, K, V, BLIND), {}),
            (attend, (SDPA, Q, K, V, Frozen(1, 3, 5, make=lambda x: x > -2)), {}),
            (attend, (SDPA, Q, Data(2, 3, 4), Data(2, 3, 4), None, 0.0, True), {}),
            (attend, (SDPA, ONE, K, V), {}),
            (attend, (SDPA, Data(6, 3, 4), K, V), {"enable_gqa": True}),
            (attend, (SDPA, Data(3, 4), Data(5, 4), Data(5, 2)), {}),
            (attend, (aten._scaled_dot_product_attention_math.default, Q, K, V, BIAS), {"pick": 0}),
            (
                attend_flash,
                (aten._scaled_dot_product_flash_attention_for_cpu.default, Q, K, V),
                {"pick": 0, "attn_mask": BIAS.expand(1, 1, 3, 5), "scale": 0.4},
            ),
            (product, (aten.matmul.default, Data(3, 5), Data(5, 4)), {}),
            (product, (aten.bmm.default, Data(3, 5), Data(5, 4)), {}),
            (
                lambda e, operands: torch.einsum(e, operands[0].detach(), operands[1]),
                (aten.einsum.default, "nhqk,nkhd->nqhd", [Data(2, 3, 5), Data(5, 2, 4)]),
                {},
            ),
        )
    )


# These need other hardware, or are fused beyond reach: no more is asked than that they are known.
FUSED = (
    aten._scaled_dot_product_flash_attention, aten._scaled_dot_product_efficient_attention,
    aten._scaled_dot_product_cudnn_attention, aten._scaled_dot_product_fused_attention_overrideable,
)  # fmt: skip


@pytest.mark.parametrize(
    "case",
    [
        Case(SDPA, Q, K, V),
        Case(aten._scaled_dot_product_attention_math.default, Q, K, V, pick=0),
        Case(aten._scaled_dot_product_flash_attention_for_cpu.default, Q, K, V, pick=0),
        Case(aten.matmul.default, Data(3, 5), Data(5, 4)),
    ],
    ids=str,
)
def test_sources(case):
    assert is_source(case)


def test_no_key_in_sight_means_zero():
    q, k, v = (torch.randn(2, 3, 4, dtype=torch.float64) for _ in range(3))
    blind = torch.zeros(3, 3, dtype=torch.bool)
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, blind)
    torch.testing.assert_close(attention_pattern(q, k, blind, False, None) @ v, expected)


def test_values_get_an_axis_for_every_head():
    graph = Case(SDPA, Data(6, 3, 4), Data(2, 5, 4), Data(2, 5, 4), enable_gqa=True, opened=True).graph()
    values, step = value_term(graph.captured.output)
    x = graph.made[2]
    assert values.operand is x
    assert step.fn.__name__ == "matmul_left"
