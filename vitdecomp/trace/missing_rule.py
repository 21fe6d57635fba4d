"""What to tell where an operation has no rule: the line of the user's code, and a rule to begin with."""

from __future__ import annotations

import re
from pathlib import Path

from torch import fx

from vitdecomp.errors import NoRuleError
from vitdecomp.trace.rule import Op, module_path, varies

FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)[^\n]*\n\s*(?P<code>[^\n]*)')
LENGTH = 120


def no_rule(op: Op) -> NoRuleError:
    """Describe an operation that no rule knows."""
    return NoRuleError(str(op.target), module_path(op.call), op.call.name, source_line(op.call), stub(op))


def source_line(node: fx.Node) -> str:
    """Return the innermost line of code that calls a node's operation, as `file, line 3: code`; empty if unknown."""
    frames = list(FRAME.finditer(node.meta.get("stack_trace") or ""))
    if not frames:
        return ""
    last = frames[-1]
    code = last["code"].strip()[:LENGTH]
    return f"{Path(last['file']).name}, line {last['line']}" + (f": `{code}`" if code else "")


def stub(op: Op) -> str:
    """Write a rule that is right if the operation is linear in its first operand that depends on the input.

    Empty for what is no operation with a schema.
    """
    if not hasattr(op.target, "_schema"):
        return ""
    names = [argument.name for argument in op.target._schema.arguments]
    place = next((i for i, value in enumerate(op.arguments()[0]) if isinstance(value, fx.Node) and varies(value)), 0)
    data, others = names[place], [name for i, name in enumerate(names) if i != place]
    path = f"torch.ops.{str(op.target).rpartition('.')[0]}"
    name = re.sub(r"\W", "_", path.rpartition(".")[2])
    rest = "".join(f", {other}" for other in others)
    call = f"{path}({', '.join(names)})"
    return f'''import torch
import vitdecomp as vd


def apply_{name}({data}{rest}):
    return {call}  # which needs a derivative: else write it with torch's own operations


@vd.register_rule({path})
def {name}_rule(op, {", ".join(names)}):
    """Linear in {data}, with everything else as it is."""
    return [vd.data({data}).then(apply_{name}{rest})]
'''
