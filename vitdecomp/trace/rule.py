"""The language in which an operation says how it is linear, and the table of all that have said so.

A rule looks at one call of an operation and answers with a list of terms whose sum is the operation's output:

    @register_rule(aten.linear)
    def linear(op, x, weight, bias=None):
        return [data(x).then(F.linear, weight), *op.constant(bias)]

Every term is one operand, followed by steps that are linear in it. All else that a step mentions (a weight, a
size, the output of another node) is a *gate*: its value is recorded while the model runs, and frozen. A rule
that answers `None` says that the operation is not linear here; the path then ends at it, as a source.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor, fx

from vitdecomp._utils.registry import Registry

F = TypeVar("F", bound=Callable[..., Any])
BY_SHAPE: set[Callable[..., Any]] = set()


@dataclass(frozen=True, slots=True)
class Gate:
    """A value to be recorded while the model runs: `fn(*args)`, with nodes and gates in `args` evaluated."""

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        return getattr(self.fn, "__name__", str(self.fn))


def same(value: Any) -> Any:
    """Record a node as it is."""
    return value


def by_shape(fn: F) -> F:
    """Mark a function of gates that reads no element of its arguments, only how many there are."""
    BY_SHAPE.add(fn)
    return fn


@by_shape
def shape_of(x: Tensor) -> tuple[int, ...]:
    """Record a shape, so that a step fits every batch size."""
    return tuple(x.shape)


@dataclass(frozen=True, slots=True)
class Step:
    """One linear step, `x -> fn(x, *args, **kwargs)`; nodes and gates in the arguments are frozen."""

    fn: Callable[..., Tensor]
    args: tuple[Any, ...] = ()
    kwargs: tuple[tuple[str, Any], ...] = ()


Operand: TypeAlias = "fx.Node | Gate | float | int"


@dataclass(frozen=True, slots=True)
class Term:
    """An operand and the linear steps that it takes. A `Gate` as operand is an additive frozen value."""

    operand: Operand
    steps: tuple[Step, ...] = ()
    label: str = ""

    def then(self, fn: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Term:
        """Append one more step."""
        named = tuple((name, _freeze(value)) for name, value in kwargs.items())
        return replace(self, steps=(*self.steps, Step(fn, _freeze(args), named)))


def data(operand: Operand) -> Term:
    """Begin a term with the operand that the path goes on into."""
    return Term(operand)


def frozen(label: str, fn: Callable[..., Any], *args: Any) -> Term:
    """Build an additive value computed from the model's own values and frozen, such as a norm's mean."""
    return Term(Gate(fn, _freeze(args)), label=label)


def gate(fn: Callable[..., Any], *args: Any) -> Gate:
    """Build a multiplicative value computed from the model's own values and frozen, such as a norm's 1/std."""
    return Gate(fn, _freeze(args))


def _freeze(value: Any) -> Any:
    """Turn lists into tuples, so that gates can be compared and shared."""
    return tuple(_freeze(v) for v in value) if isinstance(value, (list, tuple)) else value


class Op:
    """One call of an operation in the graph, as a rule sees it.

    Attributes:
        node: the node whose value is asked for.
        call: the node that calls the operation; differs from `node` when that picks one of several outputs.
        index: which output is asked for, 0 for an operation with one.
        shape: shape of that output on the trial batch.
    """

    def __init__(self, node: fx.Node) -> None:
        picks = node.target is operator.getitem and isinstance(node.args[0], fx.Node)
        self.node = node
        self.call: fx.Node = node.args[0] if picks else node  # type: ignore[assignment]
        self.index: int = node.args[1] if picks else 0  # type: ignore[assignment]
        self.shape: tuple[int, ...] = shape(node)

    @property
    def target(self) -> Any:
        """The operation."""
        return self.call.target

    @property
    def size(self) -> Gate:
        """The output's shape, recorded anew for each batch."""
        return Gate(shape_of, (self.node,))

    def arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """Positional arguments with the schema's defaults filled in, and keyword-only ones that are given."""
        schema = getattr(self.target, "_schema", None)
        if schema is None:
            return list(self.call.args), dict(self.call.kwargs)
        positional, keywords = [], dict(self.call.kwargs)
        for i, argument in enumerate(a for a in schema.arguments if not a.kwarg_only):
            if i < len(self.call.args):
                positional.append(self.call.args[i])
            else:
                positional.append(keywords.pop(argument.name, argument.default_value))
        return positional, keywords

    def reshaped(self, operand: Operand) -> Term:
        """Reshape the operand to the shape of the output."""
        return data(operand).then(torch.reshape, self.size)

    def fit(self, term: Term) -> Term:
        """Broadcast the term to the shape of the output if its operand is smaller."""
        operand = term.operand
        if isinstance(operand, fx.Node) and shape(operand) == self.shape:
            return term
        return term.then(broadcast, self.size)

    def constant(self, operand: Operand | None, axis: int = -1) -> list[Term]:
        """Build the term of an optional bias that lies along one axis of the output; none if there is none."""
        if operand is None:
            return []
        after = len(self.shape) - 1 - (axis % len(self.shape))
        return [data(operand).then(along, after).then(broadcast, self.size)]


def broadcast(x: Tensor, size: Sequence[int]) -> Tensor:
    """Expand to a full shape."""
    return x.expand(tuple(size))


def along(x: Tensor, after: int) -> Tensor:
    """Add `after` axes of size one behind a vector."""
    return x.reshape(x.shape + (1,) * after)


def varies(value: Any) -> bool:
    """Check whether a value depends on the input (and not only on how many there are)."""
    return isinstance(value, fx.Node) and bool(value.meta.get("varies"))


def shape(node: fx.Node) -> tuple[int, ...]:
    """Shape of a node's value on the trial batch; `()` for a number."""
    found: tuple[int, ...] = node.meta.get("trial_shape", ())
    return found


def is_static(node: fx.Node, dim: int) -> bool:
    """Check whether the length of an axis is the same for every batch size."""
    static = node.meta.get("static", ())
    return not static or bool(static[dim])


def module_path(node: fx.Node) -> str:
    """Path of the module that calls a node, `""` for the model itself."""
    path: str = node.meta.get("module", "")
    return path


Rule: TypeAlias = Callable[..., "Iterable[Term] | None"]
R = TypeVar("R", bound=Rule)
RULES: Registry[Any, Rule] = Registry("rule for", "vitdecomp.rules")
OPENINGS: Registry[Any, Rule] = Registry("opening of")
NONLINEAR: Registry[Any, str] = Registry("nonlinear operation")


def register_rule(*ops: Any, replace: bool = False) -> Callable[[R], R]:
    """Register how operations (`torch.ops.aten.roll`, or one overload of it) are linear.

    The decorated function gets an `Op` and the call's arguments, and returns the terms whose sum is the
    output, or `None` where the call is not linear. See docs/how-to/rule.md.

    Raises:
        SpecError: an operation has a rule already and `replace` is not set.
    """
    return _register(RULES, ops, replace)


def register_opening(*ops: Any, replace: bool = False) -> Callable[[R], R]:
    """Register how a path goes on through operations that are not linear, with a part frozen as a gate."""
    return _register(OPENINGS, ops, replace)


def _register(table: Registry[Any, Rule], ops: Iterable[Any], replace: bool) -> Callable[[R], R]:
    def decorate(rule: R) -> R:
        import vitdecomp.trace.rules  # noqa: F401 - ours are there first, so that `replace` can take their place

        table.register(*ops, replace=replace)(rule)
        return rule

    return decorate


def nonlinear(noun: str, *ops: Any) -> None:
    """Declare operations at which a path ends."""
    for op in ops:
        NONLINEAR.add(op, noun)


def load_rules() -> None:
    """Load the rules of installed plugins, once, and log those that cannot be imported."""
    RULES.load_plugins(warn=True)  # nobody asks for them by name


def lookup(table: Registry[Any, Any], target: Any) -> Any:
    """Look up the entry for an overload, or else for all overloads of its operation."""
    entry = table.get(target)
    return entry if entry is not None else table.get(getattr(target, "overloadpacket", None))


def linear_terms(node: fx.Node) -> list[Term] | None:
    """Return the terms that make up a node's value, or `None` where its operation is not linear.

    Raises:
        NoRuleError: nothing is known about the operation.
    """
    op = Op(node)
    rule = lookup(RULES, op.target)
    if rule is not None:
        terms = _run(rule, op)
        return terms if terms and _continues(terms) else None
    if lookup(NONLINEAR, op.target) or torch.Tag.pointwise in getattr(op.target, "tags", ()):
        return None
    from vitdecomp.trace.missing_rule import no_rule  # which is made of the above

    raise no_rule(op)


def _continues(terms: Sequence[Term]) -> bool:
    """Check whether a path can go on: not into whole numbers, nor where the image comes in through gates alone."""
    moving = [t.operand for t in terms if isinstance(t.operand, fx.Node) and varies(t.operand)]
    if moving:
        return all(is_continuous(x) for x in moving)
    return not any(depends_on_input(step.args) or depends_on_input(step.kwargs) for t in terms for step in t.steps)


def is_continuous(node: fx.Node) -> bool:
    """Check whether a node holds real or complex numbers, and not indices or a mask."""
    dtype = node.meta.get("trial_dtype", torch.float32)
    return bool(dtype.is_floating_point or dtype.is_complex)


def depends_on_input(argument: Any) -> bool:
    """Check whether a gate or a step's argument depends on the input (and not only on how many there are)."""
    if isinstance(argument, Gate):
        return argument.fn not in BY_SHAPE and depends_on_input((*argument.args, *argument.kwargs))
    return any(map(depends_on_input, argument)) if isinstance(argument, tuple) else varies(argument)


def opened_terms(node: fx.Node) -> list[Term] | None:
    """Return the terms of a node that is walked through with a gate, or `None` where that cannot be done."""
    op = Op(node)
    opening = lookup(OPENINGS, op.target)
    return None if opening is None else _run(opening, op)


def _run(rule: Rule, op: Op) -> list[Term] | None:
    positional, keywords = op.arguments()
    terms = rule(op, *positional, **keywords)
    return None if terms is None else list(terms)
