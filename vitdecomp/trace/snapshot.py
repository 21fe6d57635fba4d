"""What a module is made of, noted so cheaply that it can be compared before each batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial, reduce
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as every_module

from vitdecomp._utils.subclasses import plain_tensors
from vitdecomp.trace.capture import Captured

SAMPLE = 16  # elements of each tensor that are compared: `.data` changes without counting a version
SETTINGS = (bool, int, float, str, type(None))
METHODS = (FunctionType, MethodType, BuiltinFunctionType, partial)  # a module runs what is set on it or on its class
OF_CLASS = (FunctionType, property, staticmethod, classmethod)
HOOKS = {"_forward_pre_hooks": "forward pre-hook", "_forward_hooks": "forward hook"}
EVERY = {
    "forward pre-hook of all modules": every_module._global_forward_pre_hooks,
    "forward hook of all modules": every_module._global_forward_hooks,
}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A module as it was at some time.

    Attributes:
        module: the module. parts: by path each submodule, what it runs, its hooks and its plain settings.
        classes: of the submodules, what each class runs. everywhere: hooks of all modules.
        weights: the tensors that its graph uses.
    """

    module: nn.Module
    parts: dict[str, _Part]
    classes: dict[type, dict[str, Any]]
    everywhere: tuple[tuple[Any, ...], ...]
    weights: _Weights

    @classmethod
    def of(cls, module: nn.Module, captured: Captured) -> Snapshot:
        """Record a module as it is now, and the tensors that its graph uses."""
        parts = {path: _Part.of(part) for path, part in module.named_modules()}
        classes = {kind: _methods(kind) for part in parts.values() for kind in type(part.module).__mro__}
        return cls(module, parts, classes, _everywhere(), _Weights.of(module, captured))

    def changes(self) -> list[str]:
        """Describe what has changed; nothing, if all is as it was."""
        replaced = [*self._replaced()]
        kept = not replaced and all(part.stays() for part in self.parts.values())
        if kept and all(map(_same, self.everywhere, _everywhere())):
            return [*self.weights.changes()]
        now = {path: _Part.of(part) for path, part in self.module.named_modules()}
        found, other = list[str](), list[str]()  # the latter's submodules need not be told one by one
        for path in {**now, **self.parts}:
            if any(path.startswith(f"{above}.") for above in other):
                continue
            before, after = self.parts.get(path), now.get(path)
            if before is None or after is None:
                other.append(path)
                found.append(_at(path, "is new" if before is None else "is gone"))
                continue
            found += [_at(path, what) for what in before.changes(after)]
            other += [path] if after.module is not before.module else []
        for noun, hooks, hooks_now in zip(EVERY, self.everywhere, _everywhere(), strict=True):
            if not _same(hooks, hooks_now):
                found.append(f"a {noun} was added or removed")
        return [*found, *replaced, *self.weights.changes()]

    def _replaced(self) -> Iterator[str]:
        """Methods of classes that are others now."""
        for kind, before in self.classes.items():
            now = _methods(kind)
            names = (k for k in {**before, **now} if before.get(k) is not now.get(k))
            yield from (f"{kind.__name__} has another {name}" for name in names)


@dataclass(frozen=True, slots=True)
class _Part:
    """One submodule; what is compared is the identity of objects."""

    module: nn.Module
    runs: tuple[Any, ...]
    hooks: tuple[tuple[Any, ...], ...]
    children: tuple[nn.Module | None, ...]
    settings: dict[str, Any]
    methods: dict[str, Any]
    attributes: int

    @classmethod
    def of(cls, module: nn.Module) -> _Part:
        own, kind = vars(module), type(module)
        hooks = tuple(tuple(own.get(name, {}).values()) for name in HOOKS)
        settings = {k: v for k, v in own.items() if type(v) in SETTINGS and k[0] != "_" and k != "training"}
        methods = {k: v for k, v in own.items() if k != "forward" and k[0] != "_" and isinstance(v, METHODS)}
        runs, children = (kind, own.get("forward")), tuple(own["_modules"].values())
        return cls(module, runs, hooks, children, settings, methods, len(own))

    def stays(self) -> bool:
        """Check whether nothing has changed: asked before every batch, so without a word about what."""
        own, kind = vars(self.module), type(self.module)
        return (
            len(own) == self.attributes
            and _same(self.runs, (kind, own.get("forward")))
            and _same(self.children, tuple(own["_modules"].values()))
            and all(
                _same(own_hooks, tuple(own[name].values())) for name, own_hooks in zip(HOOKS, self.hooks, strict=True)
            )
            and all(type(now := own.get(k)) is type(v) and now == v for k, v in self.settings.items())
            and all(own.get(k) is v for k, v in self.methods.items())
        )

    def changes(self, now: _Part) -> Iterator[str]:
        if now.module is not self.module:
            yield f"is another {type(now.module).__name__}"
            return
        if not _same(self.runs, now.runs):
            yield "has another forward"
        for noun, before, after in zip(HOOKS.values(), self.hooks, now.hooks, strict=True):
            if not _same(before, after):
                yield f"has {'a new' if len(after) > len(before) else 'lost a'} {noun}"
        if now.settings != self.settings:
            names = [k for k in {**self.settings, **now.settings} if self.settings.get(k) != now.settings.get(k)]
            yield from (f"has {name} = {now.settings.get(name)!r}" for name in names[:2])
        names = [k for k in {**self.methods, **now.methods} if self.methods.get(k) is not now.methods.get(k)]
        yield from (f"has another {name}" for name in names[:2])


@dataclass(frozen=True, slots=True)
class _Weights:
    """Tensors of a graph: where each belongs, the tensor, and what tells whether it was changed in place."""

    owners: tuple[tuple[str, nn.Module, str, Tensor], ...]
    marks: tuple[Any, ...]
    views: tuple[Tensor, ...]
    samples: tuple[Tensor, ...]

    @classmethod
    def of(cls, module: nn.Module, captured: Captured) -> _Weights:
        graph = captured.module
        used = {id(getattr(graph, n.target, None)) for n in graph.graph.nodes if n.op == "get_attr"}
        owners = tuple(entry for entry in _tensors(module) if id(entry[3]) in used)
        tensors = [tensor for *_, tensor in owners]
        views = tuple(view for tensor in tensors if (view := _some(tensor)) is not None)
        return cls(owners, tuple(map(_mark, tensors)), views, _sampled(views))

    def changes(self) -> Iterator[str]:
        changed = False
        for (name, owner, attribute, tensor), mark in zip(self.owners, self.marks, strict=True):
            other = _attribute(owner, attribute) is not tensor
            if other or _mark(tensor) != mark:
                changed = True
                yield f"{name} {'is another tensor' if other else _what(mark, tensor)}"
        if not changed and not all(map(torch.equal, self.samples, _sampled(self.views))):
            yield "weights were changed in place"


def _at(path: str, what: str) -> str:
    return f"{path.removeprefix('model').lstrip('.') or 'the model'} {what}"


def _methods(kind: type) -> dict[str, Any]:
    return {k: v for k, v in vars(kind).items() if isinstance(v, OF_CLASS)}


def _same(before: tuple[Any, ...], after: tuple[Any, ...]) -> bool:
    return len(before) == len(after) and all(a is b for a, b in zip(before, after, strict=True))


def _everywhere() -> tuple[tuple[Any, ...], ...]:
    return tuple(tuple(hooks.values()) for hooks in EVERY.values())


def _tensors(module: nn.Module) -> Iterator[tuple[str, nn.Module, str, Tensor]]:
    """Yield all tensors of a module: full name, owner, name there, tensor; of a quantized weight its parts."""
    for path, part in module.named_modules():
        for name, value in [*part._parameters.items(), *part._buffers.items(), *vars(part).items()]:
            for own, tensor in plain_tensors(name, value) if isinstance(value, Tensor) else ():
                yield f"{path}.{own}".removeprefix("model").lstrip("."), part, own, tensor


def _attribute(owner: nn.Module, name: str) -> Any:
    name, *inner = name.split(".")
    found: Tensor | None = owner._parameters.get(name)
    found = owner._buffers.get(name) if found is None else found
    found = vars(owner).get(name) if found is None else found
    return reduce(lambda tensor, attribute: getattr(tensor, attribute, None), inner, found)


def _mark(tensor: Tensor) -> tuple[Any, ...]:
    """Describe a tensor by what changes when it is written to, moved or converted."""
    version = None if tensor.is_inference() else tensor._version
    place = tensor.data_ptr() if tensor.layout == torch.strided and not tensor.is_meta else None
    return version, place, tensor.dtype, tensor.device, tensor.shape


def _what(mark: tuple[Any, ...], tensor: Tensor) -> str:
    """Return how a tensor is different from what it was."""
    moved = mark[2:] != _mark(tensor)[2:]
    return f"is now {tuple(tensor.shape)} in {tensor.dtype} on {tensor.device}" if moved else "was changed in place"


def _some(tensor: Tensor) -> Tensor | None:
    """Return a view of a few elements, spread over a tensor."""
    if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized or type(tensor.data) is not Tensor:
        return None
    orders = (tensor.detach(), tensor.detach().movedim(1, -1)) if tensor.ndim > 1 else (tensor.detach(),)
    dense = next((order for order in orders if order.is_contiguous()), None)
    return None if dense is None or not dense.numel() else dense.view(-1)[:: max(1, dense.numel() // SAMPLE)]


def _sampled(views: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Copy some views, those of one format and device into one tensor."""
    groups: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for view in views:
        groups.setdefault((view.dtype, view.device), []).append(view)
    return tuple(torch.cat(group) for group in groups.values())
