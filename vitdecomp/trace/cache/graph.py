"""A captured graph as JSON and tensors, and back: weights are taken from the module, constants from the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Any

from torch import Tensor, fx, nn

from vitdecomp._utils.subclasses import plain_tensors
from vitdecomp.trace.cache.codec import Reader, Writer, runs
from vitdecomp.trace.cache.named import UnnamedError
from vitdecomp.trace.search import CUT

META = ("module", "parameter", "varies", "static", "trial_shape", "trial_dtype", CUT)
CONSTANT_BYTES = 2**20  # of all constants together: more would be weights in disguise


def written(
    graph: fx.GraphModule, own: Mapping[int, str], shared: Set[int] = frozenset()
) -> tuple[dict[str, Any], dict[str, Tensor], Writer]:
    """Write a graph as plain values; return them, its constants, and the writer for more about its nodes.

    Args:
        graph: the graph.
        own: names of tensors that are not written, by their identity.
        shared: where such tensors are in memory: no constant is a part of one.

    Raises:
        UnnamedError: it holds something that cannot be kept.
    """
    write = Writer({node: i for i, node in enumerate(graph.graph.nodes)})
    sources: dict[str, str | None] = {}
    constants: dict[str, Tensor] = {}
    for node in graph.graph.nodes:
        if node.op not in ("placeholder", "get_attr", "call_function", "output"):
            raise UnnamedError(node.op)
        if node.op == "get_attr":
            value = getattr(graph, node.target, None)
            sources[node.target] = own.get(id(value))
            if sources[node.target] is None:
                constants[node.target] = _constant(value, shared)
    if sum(tensor.nbytes for tensor in constants.values()) > CONSTANT_BYTES:
        raise UnnamedError("constants as large as weights")
    return {"nodes": [_node(write, node) for node in graph.graph.nodes], "tensors": sources}, constants, write


def _node(write: Writer, node: fx.Node) -> list[Any]:
    meta = {key: write(node.meta[key]) for key in META if key in node.meta}
    return [node.op, node.name, write(node.target), write(node.args), write(node.kwargs), meta]


def _constant(value: Any, shared: Set[int]) -> Tensor:
    if not isinstance(value, Tensor) or type(value) not in (Tensor, nn.Parameter):
        raise UnnamedError(f"a constant of type {type(value).__name__}")
    if value.untyped_storage().data_ptr() in shared or value.is_complex() or value.requires_grad:
        raise UnnamedError("a constant that is a weight")
    return value.detach().cpu().contiguous().clone()


def read(
    data: Mapping[str, Any], constants: Mapping[str, Tensor], own: Mapping[str, Tensor]
) -> tuple[fx.GraphModule, list[fx.Node]]:
    """Read what `written` wrote, with the tensors of a module of the same structure by their names there.

    Raises:
        UnnamedError, LookupError, TypeError, ValueError: it means nothing, or not for this module.
    """
    device = next((tensor.device for tensor in own.values()), None)
    root = {
        name: constants[name].to(device) if source is None else own[source] for name, source in data["tensors"].items()
    }
    graph = fx.Graph()
    nodes: list[fx.Node] = []
    reader = Reader(nodes, numbers=runs(constants))
    for op, name, target, args, kwargs, meta in data["nodes"]:
        node = graph.create_node(op, reader(target), reader(args), reader(kwargs), name=name)
        node.meta.update({key: reader(value) for key, value in meta.items()})
        nodes.append(node)
    graph.lint()
    return fx.GraphModule(root, graph), nodes


def tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters, buffers and plain attributes that are tensors, under every name that they have.

    Of a quantized weight, the tensors that it is made of.
    """
    for name, tensor in _held(module):
        yield from plain_tensors(name, tensor)


def _held(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)
    for path, part in module.named_modules():
        for name, value in vars(part).items():
            if isinstance(value, Tensor):
                yield f"{path}.{name}".lstrip("."), value


def storages(module: nn.Module) -> set[int]:
    """Return where the tensors of a module are in memory."""
    return {tensor.untyped_storage().data_ptr() for _, tensor in tensors(module)} - {0}
