"""Ways to capture a module as a torch.fx graph of ATen operations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx import traceback
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from vitdecomp._utils.subclasses import is_made_of_others, plain_tensors
from vitdecomp.trace.functional import made_functional
from vitdecomp.trace.operations import packet


def export(module: nn.Module, images: Tensor) -> fx.GraphModule:
    """torch.export: works for nearly every model, and names the module behind every node."""
    program = torch.export.export(module, (images,), strict=False, dynamic_shapes=({0: torch.export.Dim.AUTO},))
    made_of = _made_of(module)
    if made_of or not made_functional(program.graph):
        _keep_names(program.graph_module)
        program = program.run_decompositions({})  # which traces the graph a second time
    signature = program.graph_signature
    lifted = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    named: dict[str, Tensor] = dict(module.named_parameters(remove_duplicate=False))
    named |= dict(module.named_buffers(remove_duplicate=False))
    named |= {fqn: tensor for fqn, (_, tensor) in made_of.items()}
    constants = signature.inputs_to_lifted_tensor_constants
    tensors = {name: named.get(fqn, program.state_dict.get(fqn)) for name, fqn in lifted.items()}
    tensors |= {name: program.constants[fqn] for name, fqn in constants.items()}
    tensors = {n: program.constants[lifted[n]] if t is None else t for n, t in tensors.items()}
    names = {name: made_of.get(fqn, (fqn,))[0] for name, fqn in {**lifted, **constants}.items()}
    graph = fx.Graph()
    values: dict[fx.Node, fx.Node] = {}
    root: dict[str, Any] = {}
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in tensors:
            attribute = f"tensor_{len(root)}"
            root[attribute] = tensors[node.name]
            new = graph.get_attr(attribute)
            new.meta = {**node.meta, "parameter": names[node.name]}
        elif node.op == "get_attr":
            root[node.target] = getattr(program.graph_module, node.target)
            new = graph.get_attr(node.target)
            new.meta = dict(node.meta)
        else:
            new = graph.node_copy(node, values.__getitem__)
        values[node] = new
    graph.eliminate_dead_code(_has_effects)
    return fx.GraphModule(root, graph)


def _made_of(module: nn.Module) -> dict[str, tuple[str, Tensor]]:
    """Return what quantized weights are made of, by torch.export's names: the weight's own name, and the tensor."""
    found = dict[str, tuple[str, Tensor]]()
    held = (module.named_parameters(remove_duplicate=False), module.named_buffers(remove_duplicate=False))
    for name, tensor in chain(*held):
        owner, _, own = name.rpartition(".")
        parts = plain_tensors(name, tensor) if is_made_of_others(tensor) else ()
        found |= {
            f"{owner}.parametrizations.{own}.original{i}".lstrip("."): (name, part) for i, (_, part) in enumerate(parts)
        }
    return found


def _keep_names(graph: fx.GraphModule) -> None:
    """Let regions of a graph (autocast, no gradients) run node by node, so that a second trace knows their modules."""
    for region in graph.children():
        if isinstance(region, fx.GraphModule):
            _keep_names(region)
            region.forward = fx.Interpreter(region).run


def _has_effects(node: fx.Node) -> bool:
    """Check whether a node does more than return a value; a draw of numbers (dropout) and a check of a dtype do not."""
    harmless = torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())
    return node.is_impure() and not harmless and packet(node) is not torch.ops.aten._assert_tensor_metadata


def by_make_fx(module: nn.Module, images: Tensor) -> fx.GraphModule:
    """make_fx: for modules with Python that torch.export refuses; one batch size, parameters by identity.

    It knows no modules by itself: each node is noted with those that are running when it is made.
    """

    def call(x: Tensor) -> Tensor:
        result: Tensor = module(x)
        return result

    run: Any = torch.func.functionalize(call)
    with sdpa_kernel(SDPBackend.MATH), _noting_modules(module):  # as products and a softmax, so that heads can be found
        traced = make_fx(run, tracing_mode="real")(images)
    fqn = {id(t): n for n, t in [*module.named_parameters(), *module.named_buffers()]}
    for node in traced.graph.nodes:
        if node.op == "get_attr":
            tensor = getattr(traced, node.target)
            node.meta["parameter"] = fqn.get(id(tensor), node.target)
    return traced


@contextmanager
def _noting_modules(root: nn.Module) -> Iterator[None]:
    """Give the nodes that are made meanwhile the stack of modules that are running, as torch.export does."""
    paths = {id(each): path for path, each in root.named_modules()}
    running, here = list[tuple[str, type]](), get_ident()

    def note() -> None:
        stack = {f"{path}@{depth}": (path, kind) for depth, (path, kind) in enumerate(running)}
        traceback.current_meta["nn_module_stack"] = stack

    def enter(module: nn.Module, _: Any) -> None:
        if id(module) in paths and get_ident() == here:
            running.append((paths[id(module)], type(module)))
            note()

    def leave(module: nn.Module, *_: Any) -> None:
        if id(module) in paths and get_ident() == here:
            running.pop()
            note()

    hooks = (register_module_forward_pre_hook(enter), register_module_forward_hook(leave, always_call=True))
    try:
        with traceback.preserve_node_meta():
            yield
    finally:
        for hook in hooks:
            hook.remove()


FRONT_ENDS: dict[str, Callable[[nn.Module, Tensor], fx.GraphModule]] = {
    "torch.export": export,
    "make_fx": by_make_fx,
}
