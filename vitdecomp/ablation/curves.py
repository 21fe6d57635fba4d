"""Ablation curves: accuracy while layers or components are taken away one after another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from vitdecomp._utils.progress import Progress
from vitdecomp._utils.registry import did_you_mean
from vitdecomp.ablation.ablator import Ablator
from vitdecomp.ablation.effects import effects
from vitdecomp.ablation.linear_head import LinearHead
from vitdecomp.component import Component
from vitdecomp.errors import InputError, SpecError
from vitdecomp.score import FeatureScorer
from vitdecomp.sources.source import Source

Unit = tuple[Component, ...]  # what is taken away in one step
RANDOM = "random"


@dataclass(frozen=True, slots=True)
class Steps:
    """How a model is taken apart.

    Attributes:
        unit: `layer`, a whole residual block, or `component`.
        orders: names in `ORDERS`, or `random`.
        value: what replaces components, as for `Ablator`.
        draws: random orders. seed: of these.
    """

    unit: str = "layer"
    orders: tuple[str, ...] = ("last", "first", "score", RANDOM)
    value: str = "mean"
    draws: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse names that mean nothing."""
        for name, known in ((self.unit, tuple(UNITS)), *((order, (*ORDERS, RANDOM)) for order in self.orders)):
            if name not in known:
                raise SpecError(f"no unit is named {name!r}{did_you_mean(name, known)}")
        if not self.orders or self.draws < 1:
            raise SpecError("give one order at least, and one draw")


@dataclass(frozen=True, slots=True)
class Curve:
    """Accuracies when the first 0, 1, 2, ... units of an order are gone.

    Attributes:
        order: its name. units: the names of the units, in this order; those of the first draw, if it is random.
        accuracy: the mean over random orders. deviation: and its standard deviation, 0 if there is but one order.
    """

    order: str
    units: tuple[str, ...]
    accuracy: tuple[float, ...]
    deviation: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def ablation_curves(
    train: Source,
    test: Source,
    labels: Int64[np.ndarray, " n"],
    head: LinearHead,
    steps: Steps,
    *,
    train_labels: Int64[np.ndarray, " m"] | None = None,
    progress: Progress | None = None,
) -> list[Curve]:
    """Take units away one after another and see how often a linear head is still right.

    All orders are evaluated in one pass over the images: the logits are linear in the contributions.

    Args:
        train: contributions that replacements and scores are learned from.
        test: those that are classified.
        labels: their classes, `(n,)`.
        head: the classifier.
        steps: which units, in which orders.
        train_labels: the classes of the first images, for `value="class-mean"`.
        progress: called with the images done and their number.

    Raises:
        InputError: no images, or no unit to take away.
    """
    units = UNITS[steps.unit](train.components)
    if not units or not len(test):
        raise InputError(f"there is no {steps.unit} to take away" if len(test) else "no images to classify")
    members = tuple(component for unit in units for component in unit)
    ablator = Ablator(members, value=steps.value, random_state=steps.seed).fit(train, train_labels)
    orders = {name: _orders(name, units, train, head, steps) for name in steps.orders}
    right = {name: np.zeros((len(tables), len(units) + 1)) for name, tables in orders.items()}
    place = {component: i for i, component in enumerate(ablator.components_)}
    done = 0
    known = labels if steps.value == "class-mean" else None
    for part in effects(test, ablator, head, known):
        truth = labels[done : done + len(part.logits)]
        table = np.stack([part.removed[:, [place[c] for c in unit]].double().sum(1).numpy() for unit in units], 1)
        logits = part.logits.double().numpy()
        for name, tables in orders.items():
            for row, order in enumerate(tables):
                right[name][row] += _right(logits, table[:, order], truth)
        done += len(truth)
        if progress is not None:
            progress(done, len(test))
    return [_curve(name, units, orders[name], right[name] / len(test)) for name in orders]


def layers(components: Sequence[Component]) -> list[Unit]:
    """Group the components by residual block, in the order of the model; what belongs to no block stays."""
    found: dict[str, list[Component]] = {}
    for component in components:
        if component.block is not None and not component.is_constant:
            found.setdefault(component.block, []).append(component)
    return [tuple(members) for members in found.values()]


def single(components: Sequence[Component]) -> list[Unit]:
    """Return every component that is computed, alone."""
    return [(component,) for component in components if not component.is_constant]


UNITS: Mapping[str, Callable[[Sequence[Component]], list[Unit]]] = MappingProxyType(
    {"layer": layers, "component": single}
)


def _last(units: Sequence[Unit], train: Source, head: LinearHead) -> list[int]:
    return list(range(len(units)))[::-1]


def _first(units: Sequence[Unit], train: Source, head: LinearHead) -> list[int]:
    return list(range(len(units)))


def _score(units: Sequence[Unit], train: Source, head: LinearHead) -> list[int]:
    """Those first that carry most of the classes: scored as for a feature whose texts are the classes' vectors.

    What all classes share moves no decision, so it is taken from the vectors.
    """
    vectors = head.weight.to(train.take([0]).values.dtype)
    scorer = FeatureScorer(bootstrap=0, shuffles=0, measure="pooled").fit(train, {"classes": vectors - vectors.mean(0)})
    scores = dict(zip(scorer.components_, scorer.scores_[0], strict=True))
    sums = np.array([sum(scores[component] for component in unit) for unit in units])
    return [int(i) for i in np.argsort(-sums, kind="stable")]


ORDERS: Mapping[str, Callable[[Sequence[Unit], Source, LinearHead], list[int]]] = MappingProxyType(
    {"last": _last, "first": _first, "score": _score}
)


def _orders(name: str, units: Sequence[Unit], train: Source, head: LinearHead, steps: Steps) -> list[list[int]]:
    if name != RANDOM:
        return [ORDERS[name](units, train, head)]
    source = np.random.default_rng(steps.seed)
    return [[int(i) for i in source.permutation(len(units))] for _ in range(steps.draws)]


def _right(
    logits: Float64[np.ndarray, "n class"],
    removed: Float64[np.ndarray, "n unit class"],
    labels: Int64[np.ndarray, " n"],
) -> Int64[np.ndarray, " step"]:
    """Return how many images are classified rightly without the first 0, 1, 2, ... units."""
    left = logits.copy()
    counts = [int((left.argmax(1) == labels).sum())]
    for unit in range(removed.shape[1]):
        left -= removed[:, unit]
        counts.append(int((left.argmax(1) == labels).sum()))
    return np.array(counts)


def _curve(
    name: str, units: Sequence[Unit], orders: Sequence[Sequence[int]], found: Float64[np.ndarray, "draw step"]
) -> Curve:
    names = tuple(_title(units[i]) for i in orders[0])
    return Curve(name, names, tuple(found.mean(0).tolist()), tuple(found.std(0).tolist()))


def _title(unit: Unit) -> str:
    return unit[0].name if len(unit) == 1 else str(unit[0].block)
