"""Why a module cannot be captured as a graph, in a line or two: what, where in the user's code, and what to do."""

from __future__ import annotations

import io
import linecache
import logging
import re
import traceback
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from types import FrameType

import torch
from torch import fx, nn

from vitdecomp.errors import TraceError
from vitdecomp.trace.operations import PRODUCTS, PROJECTIONS, packet

LOGGERS = ("torch.fx.experimental.symbolic_shapes", "torch.export", "torch._export")
OTHERS = (str(Path(torch.__file__).parent), str(Path(__file__).parents[1]))  # whose code is not the user's
# What the front ends say where the values of the images decide.
DEPENDS = ("data-dependent", "get value out of a tracing tensor", "aten._local_scalar_dense", "DataDependent")
LENGTH = 300


DYNAMIC = (
    "the size of its result depends on the values of the images: keep all tokens, and mask those that do not count"
)
UNHELD = {
    "flex_attention": "call F.scaled_dot_product_attention in evaluation, with the same scores and mask",
    "pad_sequence": "let the model compute the images of a batch as one tensor, all of one size",
    "nonzero": DYNAMIC,
    "nonzero_numpy": DYNAMIC,
    "masked_select": DYNAMIC,
    "unique_consecutive": DYNAMIC,
    "_unique2": DYNAMIC,
}
"""Operations that stop a graph from holding for other images, or are none of ATen's, by name: what to do."""


def check_held(graph: fx.Graph) -> None:
    """Refuse a graph that would not hold for other images.

    Raises:
        TraceError: there is an operation of `UNHELD` that depends on the images.
    """
    for node in graph.nodes:
        name = str(getattr(node.target, "overloadpacket", node.target)).rpartition(".")[2]
        if node.op == "call_function" and node.meta.get("varies") and name in UNHELD:
            place = node.meta.get("module") or "the model itself"
            raise TraceError(f"cannot capture {name} at {place}: {UNHELD[name]}")


ROUNDS = re.compile(r"quantized\.|\w+\.(quantize_|choose_qparams|_int_mm\b|_scaled_mm\b)")
"""Operations that quantize activations, or multiply with such."""


def check_not_quantized(graph: fx.Graph) -> None:
    """Refuse a graph in which what the image makes is rounded before it is multiplied; quantized weights are constants.

    Raises:
        TraceError: there is an operation of `ROUNDS`, or a product of whole numbers, that depends on the images.
    """
    for node in graph.nodes:
        if node.op == "call_function" and node.meta.get("varies") and (ROUNDS.match(str(node.target)) or _whole(node)):
            raise TraceError(
                f"cannot decompose {node.target} at {node.meta.get('module') or 'the model itself'}: it quantizes "
                "activations, and rounding is not linear. Quantize the weights alone, or decompose the model before"
            )


def _whole(node: fx.Node) -> bool:
    """Check whether a node is a product of whole numbers."""
    dtype: torch.dtype = node.meta.get("trial_dtype", torch.float32)
    return packet(node) in PRODUCTS | PROJECTIONS and not (dtype.is_floating_point or dtype.is_complex)


@contextmanager
def unseen_output() -> Iterator[None]:
    """Hold back what torch prints while it tries: hundreds of lines of a graph, of which the error tells the reason."""
    with ExitStack() as stack:
        for name in LOGGERS:
            logger = logging.getLogger(name)
            stack.callback(setattr, logger, "disabled", logger.disabled)
            logger.disabled = True
        stack.enter_context(redirect_stderr(io.StringIO()))
        stack.enter_context(redirect_stdout(io.StringIO()))
        yield


def why_not(reasons: Mapping[str, Exception], module: nn.Module) -> str:
    """Return one reason for all front ends, if it is that the images' values decide; else what each of them says."""
    place = next((found for error in reasons.values() if (found := _place(error, module))), "")
    if any(word in f"{type(error).__name__} {error}" for error in reasons.values() for word in DEPENDS):
        return (
            f"its shapes or its control flow depend on the values of the images{place}. Make that step the same for "
            "all images (torch.where for an `if`, a mask for a selection, a fixed number for .item()), then try again"
        )
    told = "; ".join(f"{name}: {first_line(error)}" for name, error in reasons.items())
    return f"{told}{place}. Make data-dependent Python control flow static for evaluation, then try again"


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:LENGTH]


def _place(error: BaseException, module: nn.Module) -> str:
    """Find the innermost line of the user's code that led to an error, and the module that it belongs to."""
    seen: BaseException | None = error
    while seen is not None:
        frames = [(f, n) for f, n in traceback.walk_tb(seen.__traceback__) if _is_users(f.f_code.co_filename)]
        if frames:
            frame, number = frames[-1]
            file = frame.f_code.co_filename
            line = linecache.getline(file, number).strip()
            code = f": `{line[:80]}`" if line else ""
            return f", at {_owner(frame, module)} ({Path(file).name}, line {number}{code})"
        seen = seen.__cause__ or seen.__context__
    return ""


def _is_users(file: str) -> bool:
    return not file.startswith((*OTHERS, "<"))


def _owner(frame: FrameType, module: nn.Module) -> str:
    """Return the path of the module whose method a frame runs."""
    own = frame.f_locals.get(next(iter(frame.f_code.co_varnames), ""))
    paths = (path for path, part in module.named_modules() if part is own)
    return next(paths, "").removeprefix("model").lstrip(".") or "the model itself"
