"""A module becomes a functional torch.fx graph of ATen operations, checked equal to the module itself."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from vitdecomp._utils.modes import SERIAL
from vitdecomp._utils.tolerance import TOLERANCE, coarsest, dtype_name, relative_error
from vitdecomp.errors import InputError, TraceError, VitdecompError
from vitdecomp.models.adapter import Representation
from vitdecomp.models.outputs import advice, described
from vitdecomp.trace import front_ends
from vitdecomp.trace.refusal import check_held, check_not_quantized, first_line, unseen_output, why_not

aten = torch.ops.aten
TRACED_IMAGES = 2  # torch.export specialises sizes 0 and 1
TRIAL_IMAGES = 3  # another number, to see that the graph holds for any


@dataclass(frozen=True, slots=True)
class Captured:
    """A functional graph of a module.

    Attributes:
        module: the graph; its parameters are the very tensors of the user's module.
        image: the input node. output: the node of the representation.
        trial: the images of the trial run, whose shapes stand in the nodes' meta as `trial_shape`.
        front_end: what captured the graph.
        batch: the only batch size that the graph holds for, `None` for any.
    """

    module: fx.GraphModule
    image: fx.Node
    output: fx.Node
    trial: Tensor
    front_end: str
    batch: int | None

    def chunks(self, images: Tensor) -> list[Tensor]:
        """Split a batch into pieces of the only size that the graph holds for, filled up with the last image."""
        size = self.batch
        if size is None:
            return [images]
        padded = torch.cat([images, images[-1:].expand(-len(images) % size, *images.shape[1:])])
        return [padded[i : i + size] for i in range(0, len(padded), size)]


def capture(module: nn.Module, images: Tensor) -> Captured:
    """Capture the graph of a module that maps `(n, ...)` images to `(n, d)` vectors.

    The module is left as it was: weights are shared, training flags and random state restored.

    Raises:
        TraceError: no front end can capture the module, or the graph computes something else.
        InputError: the module refuses the images, or its output is not one vector per image.
    """
    with _undisturbed(module):
        trial = _more(images, TRIAL_IMAGES)
        expected = _run_eager(module, trial)
        reasons = dict[str, Exception]()
        for name, front_end in front_ends.FRONT_ENDS.items():
            try:
                with unseen_output():
                    graph = front_end(module, _more(images, TRACED_IMAGES))
            except Exception as error:  # the front ends raise anything; each reason is reported if all fail
                reasons[name] = error
                continue
            return _checked(
                graph, trial, expected, name, prefix=module.prefix if isinstance(module, Representation) else ""
            )
    raise TraceError(f"cannot capture {_title(module)} as a graph: {why_not(reasons, module)}")


def again(
    module: nn.Module, images: Tensor, graph: fx.GraphModule, front_end: str, batch: int | None
) -> Captured | None:
    """Take a graph that was captured earlier, of a module like this one; return `None` if it computes something else.

    Raises:
        InputError: the module refuses the images, or its output is not one vector per image.
    """
    with _undisturbed(module):
        trial = _more(images, TRIAL_IMAGES)
        try:
            return _agreed(module, Captured(graph, *ends(graph.graph), trial[:batch], front_end, batch))
        except InputError:
            raise
        except Exception:  # it is of another module, whatever it says
            return None


def still(module: nn.Module, captured: Captured) -> bool:
    """Check whether a module computes what it did when it was captured."""
    with SERIAL, _undisturbed(module):
        try:
            return _agreed(module, captured) is not None
        except Exception:  # it was moved, or cannot be run any more
            return False


def _agreed(module: nn.Module, captured: Captured) -> Captured | None:
    """Return the captured graph if it computes what the module does."""
    expected = _run_eager(module, captured.trial[:TRACED_IMAGES])
    graph = captured.module
    error = relative_error(_first(graph.forward(captured.trial[:TRACED_IMAGES])), expected).max().item()
    if not error <= allowed(graph.graph, expected.dtype):
        return None
    graph.eval()
    return captured


def takes(module: nn.Module, images: Tensor) -> bool:
    """Check whether a module runs on images of this number format and returns finite numbers.

    Raises:
        MemoryError, torch.OutOfMemoryError: there is no room for the run.
    """
    with SERIAL, _undisturbed(module):
        try:
            result = module(_more(images, TRACED_IMAGES))
        except VitdecompError:
            raise
        except (MemoryError, torch.OutOfMemoryError):  # says nothing about the format
            raise
        except Exception:  # a user's model refuses a format in any way
            return False
    return not isinstance(result, Tensor) or bool(result.isfinite().all())


def allowed(graph: fx.Graph, dtype: torch.dtype) -> float:
    """Return how far two runs may be apart: the coarsest format on the way counts."""
    met = coarsest(n.meta.get("trial_dtype", dtype) for n in graph.nodes)
    return TOLERANCE[met or torch.float32]


def _more(images: Tensor, n: int) -> Tensor:
    """n different images, made from those that are given with a little noise (no global random state is used)."""
    source = torch.Generator().manual_seed(0)
    repeated = images[[i % len(images) for i in range(n)]]
    noise = torch.randn(repeated.shape, generator=source, dtype=torch.float32, device="cpu").to(repeated)
    spread = images.float().std(unbiased=False).clamp_min(0.1).to(repeated)
    return (repeated + 0.5 * spread * noise).to(images.dtype)


def _run_eager(module: nn.Module, trial: Tensor) -> Tensor:
    try:
        y = module(trial)
    except VitdecompError:
        raise
    except Exception as error:
        raise InputError(
            f"{_title(module)} does not take images of shape {tuple(trial.shape[1:])} and dtype "
            f"{dtype_name(trial.dtype)}: {first_line(error)}"
        ) from error
    if not isinstance(y, Tensor) or not y.is_floating_point() or y.ndim != 2 or len(y) != len(trial):
        raise InputError(
            f"{_title(module)} must return one vector per image, (n, d); for {len(trial)} images it "
            f"returned {described(y)}. {advice(y, len(trial))}"
        )
    if not bool(y.isfinite().all()):
        raise InputError(f"{_title(module)} returns NaN or infinity for these images, in {dtype_name(y.dtype)}")
    return y


def _title(module: nn.Module) -> str:
    return type(module.model if isinstance(module, Representation) else module).__name__


@contextmanager
def _undisturbed(module: nn.Module) -> Iterator[None]:
    """Hold evaluation mode, no gradients and plain attention kernels; restore all of it, and the random state."""
    training = [m for m in module.modules() if m.training]
    fast = torch.backends.mha.get_fastpath_enabled()
    devices = sorted({p.device.index or 0 for p in module.parameters() if p.device.type == "cuda"})
    eager = torch.compiler.set_stance("force_eager")  # nothing is compiled for a trial
    with torch.random.fork_rng(devices), torch.no_grad(), eager, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for m in training:
                m.training = False
            torch.backends.mha.set_fastpath_enabled(False)
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)
            for m in training:
                m.training = True


class _Trial(fx.Interpreter):
    """A run that notes the shape and dtype of every value."""

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, Tensor):
            n.meta["trial_shape"], n.meta["trial_dtype"] = tuple(value.shape), value.dtype
        return value


def _checked(graph: fx.GraphModule, trial: Tensor, expected: Tensor, front_end: str, *, prefix: str) -> Captured:
    """Annotate the graph on the trial batch and compare it with the module."""
    batch = None
    try:
        got = _first(_Trial(graph).run(trial))
        if len(got) != len(trial):  # it takes the images apart, and no more than were traced
            raise ValueError
    except Exception:  # the graph holds for the traced batch size alone
        batch = TRACED_IMAGES
        got = _first(_Trial(graph).run(trial[:batch]))
    expected = expected[: len(got)]
    error, most = relative_error(got, expected).max().item(), allowed(graph.graph, expected.dtype)
    if not error <= most:
        raise TraceError(
            f"the graph of {front_end} differs from the module by {error:.1e} (allowed {most:.0e}): "
            "does the module use random numbers, or the other images of the batch, in evaluation?"
        )
    image, output = ends(graph.graph)
    _annotate(graph.graph, prefix)
    check_held(graph.graph)
    check_not_quantized(graph.graph)
    graph.eval()
    return Captured(graph, image, output, trial[:batch], front_end, batch)


def _first(result: Any) -> Any:
    return result[0] if isinstance(result, (tuple, list)) else result


def ends(graph: fx.Graph) -> tuple[fx.Node, fx.Node]:
    """Return the nodes of the images and of the representation."""
    image = next(n for n in graph.nodes if n.op == "placeholder")
    return image, _first(next(n for n in graph.nodes if n.op == "output").args[0])


SHAPE_ONLY = {
    aten.sym_size, aten.zeros_like, aten.ones_like, aten.empty_like, aten.full_like, aten.new_zeros, aten.new_ones,
    aten.new_full, aten.new_empty, aten.rand_like, aten.randn_like, aten.sym_numel, aten._assert_tensor_metadata,
}  # fmt: skip


FORMAT_OF_OTHERS = {aten.type_as, aten.to, aten.expand_as, aten.view_as, aten.reshape_as}
"""Operations that read of all operands but the first nothing but shapes and number formats."""


def _of_value(node: fx.Node) -> Sequence[fx.Node]:
    """Return the operands on whose values a node depends."""
    inputs = node.all_input_nodes
    return inputs[:1] if getattr(node.target, "overloadpacket", None) in FORMAT_OF_OTHERS else inputs


def _annotate(graph: fx.Graph, prefix: str) -> None:
    """Note for every node whether it depends on the input, which axes do not depend on the batch, and the module.

    The module is the one that calls the operation, as the user names it.
    """
    for node in graph.nodes:
        if node.op == "placeholder":
            node.meta["varies"] = True
        elif getattr(node.target, "overloadpacket", None) in SHAPE_ONLY:
            node.meta["varies"] = False
        else:
            node.meta["varies"] = any(i.meta.get("varies") for i in _of_value(node))
        sizes = getattr(node.meta.get("val"), "shape", ())
        node.meta["static"] = tuple(isinstance(size, int) for size in sizes)
        node.meta["module"] = (_module(node) + ".").removeprefix(prefix).rstrip(".")
        if "parameter" in node.meta:
            node.meta["parameter"] = str(node.meta["parameter"]).removeprefix(prefix)


def _module(node: fx.Node) -> str:
    """Path of the innermost module on the stack, without the mark of a repeated call."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [str(path) for path, _ in stack.values() if not str(path).startswith("_empty")]
    if not paths:  # make_fx does not know modules, but a parameter's name tells its owner
        paths = [name.rpartition(".")[0] for i in node.all_input_nodes for name in _parameters(i)]
    return paths[-1].split("@")[0] if paths else ""


def _parameters(node: fx.Node) -> list[str]:
    """Return the parameter that a constant is, or is a transpose of."""
    if node.meta.get("varies"):
        return []
    if "parameter" in node.meta:
        return [str(node.meta["parameter"])]
    return [name for i in node.all_input_nodes[:1] for name in _parameters(i)]
