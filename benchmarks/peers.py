"""Others' tools on the same model and images, each at what comes nearest to a decomposition, beside vitdecomp."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass
from typing import Any

import by_hand
import torch
from bench import Bench, Model
from machine import missing
from speed_tasks import Make, Run, plain, pull, push
from timing import PLAIN, Conditions, Row, measured, told
from torch import Tensor

from vitdecomp import LoadError

STEPS = 5  # of integrated gradients; 50 are usual, and cost ten times as much


@dataclass(frozen=True)
class Peer:
    """A way to say which part of a model sees what.

    Attributes:
        name: of the tool, with what is called. module: of its library; empty if it needs none.
        computes: in a few words. exact: whether its numbers sum to the product with the representation.
        make: it.
    """

    name: str
    module: str
    computes: str
    exact: str
    make: Make


def _direction(bench: Bench) -> Tensor:
    return bench.directions(1)[0]


def captum_layers(bench: Bench) -> Run:
    """Gradient x activation in front of every output projection, summed to heads and tokens."""
    from captum.attr import LayerGradientXActivation

    direction, blocks = _direction(bench), list(bench.loaded.module.blocks)  # type: ignore[arg-type]
    method = LayerGradientXActivation(lambda x: bench.module(x) @ direction, [block.attn.proj for block in blocks])

    def run() -> list[Tensor]:
        layers = method.attribute(bench.images, attribute_to_layer_input=True)
        heads = [block.attn.num_heads for block in blocks]
        return [x.unflatten(-1, (n, -1)).sum(-1) for x, n in zip(layers, heads, strict=True)]

    return run


def captum_integrated(bench: Bench) -> Run:
    """Integrated gradients of the pixels, from black."""
    from captum.attr import IntegratedGradients

    direction = _direction(bench)
    method = IntegratedGradients(lambda x: bench.module(x) @ direction)
    return lambda: method.attribute(bench.images, n_steps=STEPS, internal_batch_size=len(bench.images))


def grad_cam(bench: Bench) -> Run:
    """Return one map for each image, of the last block."""
    from pytorch_grad_cam import GradCAM

    model: Any = bench.loaded.module
    direction, side = _direction(bench), model.patch_embed.grid_size
    targets = [lambda vector: vector @ direction] * len(bench.images)

    def reshaped(x: Tensor) -> Tensor:
        return x[:, model.num_prefix_tokens :].unflatten(1, side).permute(0, 3, 1, 2)

    def run() -> Any:
        with GradCAM(bench.module, [model.blocks[-1].norm1], reshape_transform=reshaped) as cam:
            found = cam(bench.images, targets=targets)
        model.zero_grad(set_to_none=True)  # it leaves gradients of all weights behind
        return found

    return run


def nnsight_values(bench: Bench) -> Run:
    """Record what the heads of all blocks and the MLPs put out."""
    import nnsight

    seen = nnsight.NNsight(bench.loaded.module)

    def run() -> Any:
        with torch.no_grad(), seen.trace(bench.images):
            kept = nnsight.save([(block.attn.proj.input, block.mlp.output) for block in seen.blocks])
        return kept  # noqa: RET504 - a name that the block leaves behind

    return run


def legrad(bench: Bench, first: int = -2) -> Run:
    """Make one map an image from the gradients of the attentions from a block on, one image at a time."""
    from legrad import LeWrapper

    with contextlib.redirect_stdout(io.StringIO()):  # it prints
        model = LeWrapper(deepcopy(bench.loaded.module), layer_index=first)  # it changes the model
    direction = bench.directions(1)
    return lambda: [model.compute_legrad(direction, image[None]) for image in bench.images]


OURS = (
    Peer("vitdecomp, transform", "", "all contributions as vectors, every head", "yes", push),
    Peer("vitdecomp, by head", "", "one direction, every head", "yes", pull("head")),
    Peer("vitdecomp, by head x token", "", "one direction, every head and token", "yes", pull(("head", "token"))),
)
PEERS: dict[str, tuple[Peer, ...]] = {
    "timm": (
        *OURS,
        Peer("hooks by hand, heads", "", "all contributions as vectors, every head", "yes", by_hand.heads),
        Peer(
            "hooks by hand, heads x tokens", "", "one direction, every head and token", "yes", by_hand.heads_and_tokens
        ),
        Peer("nnsight, trace and save", "nnsight", "values of heads and MLPs, nothing of them", "no", nnsight_values),
        Peer(
            "captum, LayerGradientXActivation", "captum", "one direction, every head and token, gradients through "
            "later layers", "no", captum_layers,
        ),
        Peer(
            f"captum, IntegratedGradients, {STEPS} of 50 steps", "captum", "one direction, pixels",
            "in the limit of many steps", captum_integrated,
        ),
        Peer("grad-cam, GradCAM", "pytorch_grad_cam", "one direction, a map of the last block", "no", grad_cam),
    ),
    "open_clip": (
        *OURS,
        Peer("legrad-torch, LeGrad", "legrad", "one direction, a map of the last two blocks", "no", legrad),
    ),
}  # fmt: skip


def compared(model: Model, batch: int, conditions: Conditions) -> dict[str, Any]:
    """Rows of all peers that can run on a model, in turn, with reasons for the others."""
    peers = PEERS.get(model.spec.partition(":")[0], OURS)
    found: dict[str, Any] = {"model": model.spec, "batch": batch, "why": model.why_not}
    if found["why"]:
        return found
    try:
        bench = Bench.load(model, batch, conditions)
    except (ImportError, LoadError) as error:
        return {**found, "why": f"failed: {told(error)}"}
    runs: dict[str, Run] = {PLAIN: plain(bench)}
    why: dict[str, str] = {}
    for peer in peers:
        why[peer.name] = missing(peer.module) if peer.module else ""
        if not why[peer.name]:
            with _told(peer.name, why):
                runs[peer.name] = peer.make(bench)
    rows = {row.task: row for row in measured(runs, batch, conditions)}
    told_of = {peer.name: {"computes": peer.computes, "exact": peer.exact} for peer in peers}
    ordered = [rows.get(name) or Row(name, batch, why=why[name]) for name in (PLAIN, *why)]
    return {**found, "rows": [{**asdict(row), **told_of.get(row.task, {})} for row in ordered]}


@contextlib.contextmanager
def _told(name: str, why: dict[str, str]) -> Iterator[None]:
    """Keep why a peer cannot be set up; others' libraries raise anything."""
    try:
        yield
    except Exception as error:
        why[name] = f"failed: {told(error)}"
