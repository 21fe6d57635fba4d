"""The vectors that a model of transformers offers, found by what its classifier or pooler reads in a trial run."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor, nn

from vitdecomp._utils.hub import first_line
from vitdecomp.errors import SpecError
from vitdecomp.models.adapter import Compute
from vitdecomp_adapters.huggingface.outputs import RUN, argument, part, pooled, read_by
from vitdecomp_adapters.huggingface.trial import Call, Trial, is_vector, trial

KEYS = (
    "image_embeds",
    "pooler_output",
    "summary",
    "cls_token_value",
    "last_hidden_state",
    "feature_maps",
)  # the first that is there
SCORES = ("logits", "last_hidden_state")  # what a classifier returns; the second where it has no name of its own
WORDS = {
    "first row": "the class token of {}",
    "last row": "the class token of {}",
    "mean of rows": "the mean over the tokens of {}",
    "mean of places": "the mean over the places of {}",
    "mean of places, channels last": "the mean over the places of {}",
}


@dataclass(frozen=True, slots=True)
class Reading:
    """A vector that a model offers.

    Attributes:
        compute: how the model makes it. what: the same in words.
    """

    compute: Compute
    what: str


@dataclass(frozen=True, slots=True)
class Readings:
    """What a model offers.

    Attributes:
        embeddings: candidates, the best first.
        logits: the classifier's output, if it has one.
        heads: paths of the classifier's modules, which read the embedding or parts of it.
    """

    embeddings: tuple[Reading, ...]
    logits: Reading | None = None
    heads: tuple[str, ...] = field(default=())


def takes_images(module: Any) -> bool:
    """Check whether a model has a way for images alone, or for videos or spectrograms."""
    return hasattr(module, "get_image_features") or argument(module) is not None


def find_readings(module: nn.Module, spec: str, images: Tensor) -> Readings:
    """Run a model on two made-up images, and see.

    Raises:
        SpecError: it has no vector for an image alone.
    """
    scores, reasons = None, []
    for run in _ways(module):
        try:
            tried = trial(module, images, RUN[run])
        except Exception as error:  # a model that wants more than images can fail in any way
            reasons.append(f"{run}: {first_line(error)}")
            continue
        found = _classified(tried, type(module)) if run == "forward" else Readings(())
        scores = scores or found.logits
        embeddings = found.embeddings or _candidates(tried, run)
        if embeddings:
            return Readings(embeddings, scores, found.heads)
    reason = "; ".join(reasons) or "nothing that it returns is a vector per image"
    raise SpecError(f"{spec} is a {type(module).__name__}, which gives no vector for an image alone ({reason})")


def _ways(module: Any) -> list[str]:
    ways = ["get_image_features"] if hasattr(module, "get_image_features") else []
    if argument(module) is not None:
        ways.append("forward")
    inner = module.base_model
    if inner is not module and argument(inner) is not None:
        ways.append("base_model")
    return ways


def _classified(tried: Trial, kind: type) -> Readings:
    """Return the readings of a classifier; none for another model."""
    keys = SCORES if "ForImageClassification" in kind.__name__ else SCORES[:1]
    key = next((key for key in keys if is_vector(getattr(tried.output, key, None))), None)
    if key is None:
        return Readings(())
    found = _heads(tried, getattr(tried.output, key))
    paths = tuple({call.read: call.path for call in reversed(found)}.values())[::-1]  # one for each vector
    what = f"what {' and '.join(paths)} {'reads' if len(paths) == 1 else 'read'}"
    embeddings = (Reading(partial(read_by, paths=paths), what),) if paths else ()
    scores = Reading(partial(pooled, run="forward", key=key, pool="vector"), "the classifier's output")
    return Readings(embeddings, scores, tuple(call.path for call in found))


def _heads(tried: Trial, scores: Tensor) -> list[Call]:
    """Find the modules that make the scores out of one vector per image.

    The autograd graph is followed from the scores back, up to the outermost modules that read a vector. If it leads
    past them to the image, there is no such module.
    """
    made: dict[Any, list[Call]] = {}
    for call in tried.calls:
        if call.path and call.reads_vector and (call.read is not call.made or call.kind is nn.Identity):
            made.setdefault(call.made, []).append(call)
    found: list[Call] = []
    waiting: list[Any] = [scores.grad_fn]
    seen: set[Any] = {None}
    while waiting:
        node = waiting.pop(0)
        if node in seen:
            continue
        seen.add(node)
        ending = made.get(node)
        if ending:
            # A module ends after those inside it; an identity stands for the classifier only where there is no other.
            found.append(([c for c in ending if c.kind is not nn.Identity] or ending)[-1])
        elif getattr(node, "variable", None) is tried.images:
            return []
        else:
            waiting += [before for before, _ in node.next_functions]
    return found


def _candidates(tried: Trial, run: str) -> tuple[Reading, ...]:
    """Return the vector in what a model returns; after a pooler's, what there is without the pooler."""
    out = tried.output
    values = {"": out} if isinstance(out, Tensor) else {key: part(out, key) for key in KEYS}
    pools = {key: _pool(value, tried) for key, value in values.items()}
    found = [
        Reading(partial(pooled, run=run, key=key, pool=pool), WORDS.get(pool, "{}").format(key or run))
        for key, pool in pools.items()
        if pool
    ]
    has_pooler = run != "get_image_features" and bool(pools.get("pooler_output"))
    return tuple(found if has_pooler else found[:1])


def _pool(value: Any, tried: Trial) -> str | None:
    """Return how a value becomes one vector per image, a key of `POOL`; `None` if it cannot."""
    if not isinstance(value, Tensor) or not value.is_floating_point() or len(value) != len(tried.images):
        return None
    if is_vector(value):
        return "vector"
    if value.ndim == 3:
        return "first row" if value.shape[1] == 1 else _class_token(value.shape[1], tried) or "mean of rows"
    if value.ndim == 4:  # the trial's images are square, and so are maps
        _, a, b, c = value.shape
        return "mean of places, channels last" if a == b != c else "mean of places"
    return None


def _class_token(rows: int, tried: Trial) -> str | None:
    """Return where the class token is: a row that is the same for all images where the rows first come together."""
    first = next((call for call in tried.calls if call.rows == rows), None)
    if first is None or len(first.constant) == rows:  # rows that are all the same at first are learned queries
        return None
    if 0 in first.constant:
        return "first row"
    return "last row" if first.constant == (rows - 1,) else None
