"""What is left when layer after layer is taken away."""

from __future__ import annotations

from vitdecomp.ablation import Curve, LinearHead, Steps, ablation_curves
from vitdecomp.demo.context import Context
from vitdecomp.demo.figure import Number, Sentence
from vitdecomp.demo.section import Chart, Section
from vitdecomp.demo.subject import Subject

ORDERS = {
    "last": "from the last layer",
    "first": "from the first layer",
    "score": "by what they carry of it",
    "random": "at random",
}
DRAWS = 5  # random orders


def curves(context: Context) -> Section:
    """Take layers away one after another, and see how well a factor is still read."""
    factor = next(iter(context.world.labels))
    found = {s.name: _curves(s, factor, context.options.seed) for s in context.subjects}
    first = context.featured.name
    shown = [Chart(f"Reading the {factor} from {first}", "layers gone", "right", _by_order(found[first]))]
    if len(found) > 1:
        lines = tuple((name, _numbers(several["last"])) for name, several in found.items())
        shown.append(Chart("All models, from the last layer", "share of the layers gone", "right", lines))
    last, early = found[first]["last"], found[first]["first"]
    return Section(
        title="Layer after layer",
        finding=Sentence(
            "The {factor} is read right {before} of the time from {model}: without the last of its {layers} layers "
            "{late}, without the first {early}, with the first alone {begin}, with the last alone {end}.",
            {
                "factor": factor,
                "before": Number(last.accuracy[0], "percent"),
                "model": first,
                "layers": Number(len(last.units), "count"),
                "late": Number(last.accuracy[1], "percent"),
                "early": Number(early.accuracy[1], "percent"),
                "begin": Number(last.accuracy[-2], "percent"),
                "end": Number(early.accuracy[-2], "percent"),
            },
        ),
        blocks=tuple(shown),
        how=Sentence(
            "A linear reader learned from the even pictures; on the odd ones the contributions of whole layers are "
            "replaced by their means, one layer after another, and the reader stays as it is. Of random orders the "
            "mean of {draws}.",
            {"draws": Number(DRAWS, "count")},
        ),
        repeat=context.options.command,
        key={},
    )


def _curves(subject: Subject, factor: str, seed: int) -> dict[str, Curve]:
    (learned, known), (seen, truth) = subject.part(0), subject.part(1)
    head = LinearHead.fit(learned.total(), known[factor], len(subject.world.values[factor]))
    steps = Steps(orders=tuple(ORDERS), draws=DRAWS, seed=seed)
    return {curve.order: curve for curve in ablation_curves(learned, seen, truth[factor], head, steps)}


def _by_order(found: dict[str, Curve]) -> tuple[tuple[str, tuple[Number, ...]], ...]:
    return tuple((told, _numbers(found[order])) for order, told in ORDERS.items())


def _numbers(curve: Curve) -> tuple[Number, ...]:
    return tuple(Number(value, "percent") for value in curve.accuracy)
