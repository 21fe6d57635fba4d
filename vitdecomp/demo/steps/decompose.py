"""Step 2: every model as a sum of named parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from vitdecomp.demo.context import Context
from vitdecomp.demo.figure import Cell, Number, Sentence
from vitdecomp.demo.section import Bars, Row, Section, Table
from vitdecomp.demo.shares import by_block, shares
from vitdecomp.demo.subject import Subject
from vitdecomp.trace.coverage import UNREACHED

KINDS = MappingProxyType(
    {
        "attn": "attention heads",
        "mlp": "MLPs",
        "conv": "convolution blocks",
        "embed": "embeddings",
        "other": "other parts",
        "const": "constants",
    }
)


def decompose(context: Context) -> Section:
    """Show what the sums are made of, and how exact they are."""
    featured = context.featured
    c = featured.contributions.groupby(by_block)
    bars = tuple((s.component.name, Number(s.part, "percent")) for s in shares(c, featured.representation))
    worst = max(context.subjects, key=_error)
    total = sum(len(s.report.components) for s in context.subjects)
    reached, sites = (sum(n) for n in zip(*map(_coverage, context.subjects), strict=True))
    return Section(
        title="The sum",
        finding=Sentence(
            f"{_opening(context)} the model’s own output: the largest relative error on any picture is "
            "{error}, and {reached} of {sites} attentions, MLPs and convolution blocks are in it.",
            {
                "parts": Number(total, "count"),
                "models": Number(len(context.subjects), "count"),
                "error": Number(_error(worst), "power"),
                "reached": Number(reached, "count"),
                "sites": Number(sites, "count"),
            },
        ),
        blocks=(_sheet(context), Bars(f"Shares of the blocks in the representation of {featured.name}", bars)),
        how=Sentence(
            "Relative error: |sum − representation| / |representation|, the largest over all pictures. Share: "
            "⟨contribution, representation⟩ / |representation|², the mean over the pictures; the shares add up to "
            "{total}.",
            {"total": Number(sum(number.value for _, number in bars), "percent")},
        ),
        repeat=_repeat(context),
        key={
            "models": Number(len(context.subjects), "count"),
            "named parts": Number(total, "count"),
            "largest error": Number(_error(worst), "power"),
            "blocks covered": Number(reached / sites if sites else 1.0, "percent"),
        },
    )


def _sheet(context: Context) -> Table:
    """Take one line for each property, one column for each model."""
    subjects = context.subjects
    kinds = [kind for kind in KINDS if any(kind in s.report.kinds for s in subjects)]
    lines: Mapping[str, Callable[[Subject], Cell]] = {
        **FACTS,
        **{f"  {KINDS[kind]}": partial(_count, kind) for kind in kinds},
        **CHECKS,
    }
    rows = tuple(Row(name.strip(), tuple(line(s) for s in subjects), _group(name)) for name, line in lines.items())
    return Table("The models", "model", tuple(s.name for s in subjects), rows)


def _count(kind: str, subject: Subject) -> Cell:
    return Number(subject.report.kinds.get(kind, 0), "count")


def _opening(context: Context) -> str:
    if len(context.subjects) == 1:
        return "The sum of {parts} named parts equals"
    return "Each of {models} sums, of {parts} named parts altogether, equals"


def _error(subject: Subject) -> float:
    return max(float(subject.contributions.error.max()), subject.report.error)


def _coverage(subject: Subject) -> tuple[int, int]:
    sites = subject.report.sites
    return sum(site.status != UNREACHED for site in sites), len(sites)


def _covered(subject: Subject) -> Cell:
    reached, sites = _coverage(subject)
    return Sentence("{reached} of {sites}", {"reached": Number(reached, "count"), "sites": Number(sites, "count")})


def _heads(subject: Subject) -> str:
    return ", ".join(map(str, sorted(set(subject.report.heads.values())))) or "none"


def _gates(subject: Subject, opened: bool) -> Number:
    return Number(sum(g.count for g in subject.report.gates if (g in subject.report.opened) == opened), "count")


FACTS: Mapping[str, Callable[[Subject], Cell]] = MappingProxyType(
    {
        "weights": lambda s: s.report.weights,
        "representation": lambda s: s.report.output,
        "dimensions": lambda s: Number(s.report.dimension, "count"),
        "named parts": lambda s: Number(len(s.report.components), "count"),
    }
)
CHECKS: Mapping[str, Callable[[Subject], Cell]] = MappingProxyType(
    {
        "heads in an attention": _heads,
        "pictures": lambda s: Number(len(s.contributions), "count"),
        "relative error": lambda s: Number(_error(s), "power"),
        "error allowed": lambda s: Number(s.report.tolerance, "power"),
        "blocks covered": _covered,
        "gates opened": lambda s: _gates(s, True),
        "gates passed": lambda s: _gates(s, False),
        "time to trace": lambda s: Number(s.report.seconds, "seconds"),
        "time for the pictures": lambda s: Number(s.seconds, "seconds"),
    }
)


def _group(name: str) -> str:
    return "facts" if name in FACTS else "checks" if name in CHECKS else "kinds"


def _repeat(context: Context) -> str:
    weights = " --random-weights" if context.options.random_weights else ""
    return f"vitdecomp inspect {context.featured.name}{weights}"
