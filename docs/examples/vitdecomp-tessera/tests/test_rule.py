"""The rule says what the operation is."""

import torch
from vitdecomp_tessera import rule  # noqa: F401 - it registers itself

from vitdecomp.testing import Case, Data, RuleContract

OP = torch.ops.tessera.shift_tokens.default


class TestShiftTokens(RuleContract):
    cases = (Case(OP, Data(5, 6), 1), Case(OP, Data(5, 6), -2), Case(OP, Data(5, 6), 0))
