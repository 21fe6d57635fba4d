"""Names for components: the path of the module that computes each, its kind, and the residual block it is in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import fx

from vitdecomp.trace.axes.attention_ops import behind
from vitdecomp.trace.linear_graph import CONSTANT, IMAGE, Apply, Leaf, LinearGraph, Sum
from vitdecomp.trace.operations import CONVOLUTIONS, PRODUCTS, PROJECTIONS, packet
from vitdecomp.trace.rule import module_path, shape, varies
from vitdecomp.trace.rules.parametric import convolve
from vitdecomp.trace.search import Search


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a leaf is.

    Attributes:
        name, kind, block, module: as in `Component`.
    """

    name: str
    kind: str
    block: str | None
    module: str | None


def identify(graph: LinearGraph, leaf: int, steps: Sequence[int], end: int, stem: frozenset[fx.Node]) -> Identity:
    """Name a source or the image.

    Args:
        graph: the linear graph.
        leaf: the source.
        steps: the values from the leaf to the first product with a parameter.
        end: that product.
        stem: sources behind which nothing but the image lies.
    """
    source = graph.values[leaf]
    assert isinstance(source, Leaf)
    if source.kind == IMAGE or stem == {source.node}:
        return Identity("embed", "embed", None, _first_module(graph, steps))
    final = graph.values[end]
    path = module_path(behind(source.node) or source.node)
    module = owner(path, module_path(final.node))
    kind = "embed" if source.node in stem else _kind(source.node, final)
    block = _block(graph, steps[-1], module)
    if module in ("", block):
        module = f"{module}.{kind}".lstrip(".")
    return Identity(module, kind, block, module)


def _first_module(graph: LinearGraph, steps: Sequence[int]) -> str | None:
    return next((module_path(graph.values[i].node) for i in steps[1:] if module_path(graph.values[i].node)), None)


def owner(path: str, projection: str) -> str:
    """Return the module of a source and the projection behind it: the common part of their paths, or the nearest."""
    return common_path(path, projection) or path or projection.rpartition(".")[0]


def common_path(a: str, b: str) -> str:
    """Return the longest module path that both lie in."""
    shared: list[str] = []
    for x, y in zip(a.split("."), b.split("."), strict=False):
        if x != y:
            break
        shared.append(x)
    return ".".join(shared)


def _kind(node: fx.Node, final: Apply | Sum | Leaf) -> str:
    if behind(node) is not None:
        return "attn"
    if not (isinstance(final, Apply) and final.step.fn is convolve):
        return "mlp"
    weight = final.step.args[0]
    return "conv" if _is_spatial(weight) or _made_by_spatial_convolution(node) else "mlp"


def _is_spatial(weight: fx.Node) -> bool:
    return any(s > 1 for s in shape(weight)[2:])


def _made_by_spatial_convolution(node: fx.Node) -> bool:
    """Check whether the nearest product before a node, by the largest operands, is a convolution over space."""

    def largest(here: fx.Node) -> list[fx.Node]:
        operands = [i for i in here.all_input_nodes if varies(i)]
        return sorted(operands, key=lambda n: -torch.Size(shape(n)).numel())[:1]

    found = next((n for n in Search([node], largest) if packet(n) in PRODUCTS | PROJECTIONS), None)
    return packet(found) in CONVOLUTIONS and _is_spatial(found.args[1]) if found is not None else False  # type: ignore[arg-type]


def _block(graph: LinearGraph, start: int, module: str) -> str | None:
    """Find the residual block: the module whose sum the branch joins, or its numbered part with the branch."""
    node = _residual_sum(graph, start)
    if node is None:
        return None
    adder = module_path(node)
    if adder and common_path(adder, module) != adder:
        return adder
    rest = module[len(adder) :].lstrip(".").split(".") if module != adder else []
    for i, part in enumerate(rest):
        if part.isdigit():
            return ".".join([p for p in (adder, *rest[: i + 1]) if p])
    return adder or None


def _residual_sum(graph: LinearGraph, start: int) -> fx.Node | None:
    """Find the first sum of two branches that depend on the input."""
    at = start
    for i in range(start, len(graph.values)):
        value = graph.values[i]
        if i != start and at not in _inputs(value):
            continue
        at = i
        if isinstance(value, Sum) and sum(not _constant(graph, j) for j in value.inputs) > 1:
            return value.node
    return None


def _inputs(value: Leaf | Apply | Sum) -> tuple[int, ...]:
    return (value.input,) if isinstance(value, Apply) else value.inputs if isinstance(value, Sum) else ()


def _constant(graph: LinearGraph, i: int) -> bool:
    value = graph.values[i]
    return isinstance(value, Leaf) and value.kind == CONSTANT


def constant_name(leaf: Leaf) -> str:
    """`bias.<module>`, `const.<parameter>` or `const.<module>.<statistic>`."""
    if leaf.label:
        return ".".join(p for p in ("const", module_path(leaf.node), leaf.label) if p)
    if not isinstance(leaf.origin, fx.Node):
        return ".".join(p for p in ("const", module_path(leaf.node), "scalar") if p)
    parameters = parameters_of(leaf.origin)
    path = parameters[0] if parameters else f"{module_path(leaf.node)}.{leaf.origin.name}".lstrip(".")
    stem, _, last = path.rpartition(".")
    if last == "bias":
        return f"bias.{stem}" if stem else "bias"
    if last.endswith("_bias"):
        return f"bias.{path.removesuffix('_bias')}"
    return f"const.{path}"


def parameters_of(node: fx.Node) -> list[str]:
    """Paths of the parameters that a constant is made of, the nearest first."""
    return [n.meta["parameter"] for n in Search([node], lambda n: n.all_input_nodes) if "parameter" in n.meta]


def unique_names(identities: Mapping[int, Identity]) -> dict[int, str]:
    """Names made unique: attentions of one module share a prefix, other sources are numbered from the second on."""
    kinds: dict[str, set[str]] = {}
    for who in identities.values():
        kinds.setdefault(who.name, set()).add(who.kind)
    names: dict[int, str] = {}
    taken: dict[str, int] = {}
    for i, who in identities.items():
        name = who.name if len(kinds[who.name]) == 1 else f"{who.name}.{who.kind}"
        if who.kind != "attn":
            taken[name] = taken.get(name, 0) + 1
            name = name if taken[name] == 1 else f"{name}.{taken[name]}"
        names[i] = name
    return names


__all__ = ["Identity", "common_path", "constant_name", "identify", "unique_names"]
