"""What a decomposition found out about a model, to be read by people and by programs."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import networkx as nx

from vitdecomp._utils.tolerance import EXACT, TOLERANCE, dtype_name
from vitdecomp.component import Component
from vitdecomp.contributions import Contributions
from vitdecomp.models.adapter import LoadedModel
from vitdecomp.models.loaded_model import WEIGHTS
from vitdecomp.trace.coverage import OPENED, SOURCE, UNREACHED, Site, coverage
from vitdecomp.trace.linear_graph import CONSTANT, Apply
from vitdecomp.trace.path_graph import path_graph
from vitdecomp.trace.paths import LinearPaths
from vitdecomp.trace.rule import Gate, module_path
from vitdecomp.trace.rules.norm import group_inverse_std, inverse_rms, inverse_std, running_inverse_std
from vitdecomp.trace.rules.pool import SELECTIONS
from vitdecomp.trace.search import cut_searches
from vitdecomp.trace.source_axes import SourceAxes, source_axes


@dataclass(frozen=True, slots=True)
class OpenedGate:
    """A non-linearity that the paths lead through, frozen.

    Attributes:
        op: the operation. module: where it is. why: what made it a gate. count: how many of them there are.
    """

    op: str
    module: str
    why: str
    count: int = 1


@dataclass(frozen=True)
class Report:
    """Exactness, coverage and make-up of a decomposition.

    Attributes:
        model: the model's spec. output: which vector is decomposed. dimension: its length.
        pretrained: whether the weights are trained ones, `None` where nobody knows. weights: the same in words.
        notes: what a user has to know of how the model was loaded, and of searches in its graph that hit their limit.
        components: all components, by head.
        error: largest relative error |sum - representation| / |representation| on the images of `fit`.
        tolerance: the error allowed for this dtype.
        sites: every attention, MLP and conv block, with what became of it.
        gates: the gates that were opened or are passed.
        ops: operations on linear paths, with their number.
        seconds: time to trace and to find the paths.
        front_end: what captured the graph.
        graph: linear paths as a networkx DAG from components to the representation.
        precision: the coarsest number format on the paths, by which the tolerance goes.
        axes: which axis of each source is images, heads, tokens, channels, and by which evidence.
    """

    model: str
    output: str
    dimension: int
    dtype: str
    pretrained: bool | None
    components: tuple[Component, ...]
    error: float
    tolerance: float
    sites: tuple[Site, ...]
    gates: tuple[OpenedGate, ...]
    ops: dict[str, int]
    seconds: float
    front_end: str
    graph: nx.DiGraph[str]
    notes: tuple[str, ...] = ()
    precision: str = "float32"
    axes: tuple[SourceAxes, ...] = ()

    @property
    def weights(self) -> str:
        """Where the weights come from, in words."""
        return WEIGHTS[self.pretrained]

    @property
    def exact(self) -> bool:
        """Whether the sum holds within the tolerance."""
        return self.error <= self.tolerance

    @property
    def sum_holds(self) -> str:
        """How well the sum holds, in words: a sum in bfloat16 is not exact, but as good as bfloat16 can be."""
        if not self.exact:
            return "NOT EXACT"
        fine = self.precision in map(dtype_name, EXACT)
        return "exact" if fine else f"within the rounding of {self.precision}"

    @property
    def covered(self) -> bool:
        """Whether every attention, MLP and conv block is among the sources or opened."""
        return not self.missing

    @property
    def missing(self) -> tuple[Site, ...]:
        """The attentions and blocks that no linear path reaches."""
        return tuple(s for s in self.sites if s.status == UNREACHED)

    @property
    def opened(self) -> tuple[OpenedGate, ...]:
        """The gates that were opened at bottlenecks."""
        return tuple(g for g in self.gates if g.why.startswith("opened"))

    @property
    def heads(self) -> dict[str, int]:
        """Number of heads of every attention that is a component."""
        found: dict[str, int] = {}
        for c in self.components:
            if c.head is not None:
                module = c.name.removesuffix(f".head.{c.head}")
                found[module] = found.get(module, 0) + 1
        return found

    @property
    def kinds(self) -> dict[str, int]:
        """Number of components of each kind."""
        return dict(Counter(c.kind for c in self.components))

    def paths(self, component: Component | str, limit: int = 100) -> list[list[str]]:
        """Linear paths from a component (or its module) to the representation, as lists of nodes of `graph`."""
        name = component if isinstance(component, str) else component.name
        start = next((n for n in _candidates(name) if n in self.graph), None)
        if start is None:
            return []
        found = nx.all_simple_paths(self.graph, start, "representation")
        return [path for path, _ in zip(found, range(limit), strict=False)]

    def to_json(self) -> dict[str, Any]:
        """Everything but the graph, as plain values."""
        sources = [s for s in self.sites if s.status == SOURCE]
        return {
            "model": self.model,
            "output": self.output,
            "dimension": self.dimension,
            "dtype": self.dtype,
            "pretrained": self.pretrained,
            "weights": self.weights,
            "notes": list(self.notes),
            "components": {
                "total": len(self.components),
                "kinds": self.kinds,
                "names": [c.name for c in self.components],
            },
            "blocks": [{"block": block or "", "components": dict(counts)} for block, counts in self.blocks().items()],
            "heads": self.heads,
            "exactness": {
                "error": self.error,
                "tolerance": self.tolerance,
                "exact": self.exact,
                "precision": self.precision,
                "told": self.sum_holds,
            },
            "coverage": {
                "complete": self.covered,
                "reached": len(sources),
                "opened": [asdict(s) for s in self.sites if s.status == OPENED],
                "missing": [asdict(s) for s in self.missing],
            },
            "gates": [asdict(g) for g in self.gates],
            "ops": self.ops,
            "axes": [axes.to_json() for axes in self.axes],
            "seconds_to_trace": round(self.seconds, 3),
            "front_end": self.front_end,
        }

    def blocks(self) -> dict[str | None, Counter[str]]:
        """Count the components of each kind in every residual block; constants under `None`."""
        found: dict[str | None, Counter[str]] = {}
        for c in self.components:
            found.setdefault(c.block, Counter())[c.kind] += 1
        return found

    def __str__(self) -> str:
        """Write a few plain lines; the command line shows the same as tables."""
        heads = ", ".join(f"{n}" for n in sorted(set(self.heads.values()))) or "no"
        kinds = ", ".join(f"{n} {kind}" for kind, n in self.kinds.items())
        reached = sum(s.status != UNREACHED for s in self.sites)
        lines = [
            f"{self.model}: {self.output}, {self.dimension} dimensions, {self.dtype}",
            f"weights: {self.weights}",
            *(f"note: {note}" for note in self.notes),
            f"{len(self.components)} components: {kinds} ({len(self.heads)} attentions with {heads} heads)",
            f"sum: {self.sum_holds}, relative error {self.error:.1e} (allowed {self.tolerance:.0e})",
            f"coverage: {reached} of {len(self.sites)} attentions, MLPs and conv blocks"
            + "".join(f"\n  missing {s.name}: {s.why}" for s in self.missing),
            *(f"gate: {g.op} in {g.module or 'the model'}, {g.why}" for g in self.opened),
            f"traced with {self.front_end} in {self.seconds:.1f} s",
        ]
        return "\n".join(lines)


def _candidates(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:i]) for i in range(len(parts), 0, -1)]


def make_report(model: LoadedModel, output: str, paths: LinearPaths, sample: Contributions, seconds: float) -> Report:
    """Gather the report of a fitted decomposition from its paths and one decomposed batch."""
    dtype = sample.values.dtype
    return Report(
        model=model.spec,
        output=output,
        dimension=sample.values.shape[2],
        dtype=str(dtype).removeprefix("torch."),
        pretrained=model.pretrained,
        components=sample.components,
        error=float(sample.error.max()),
        tolerance=TOLERANCE[paths.coarsest],
        precision=dtype_name(paths.coarsest),
        sites=coverage(paths),
        gates=_gates(paths),
        ops=_operations(paths),
        seconds=seconds,
        front_end=paths.captured.front_end,
        graph=path_graph(paths),
        axes=source_axes(paths),
        notes=(*model.notes, *cut_searches(paths.captured.module.graph)),
    )


_PASSED: dict[Any, str] = {
    **dict.fromkeys((inverse_std, inverse_rms, group_inverse_std, running_inverse_std), "statistics of a norm"),
    **dict.fromkeys(SELECTIONS, "selection of a maximum"),
}


def _gates(paths: LinearPaths) -> tuple[OpenedGate, ...]:
    """List opened gates one by one, and gates that every path passes by kind."""
    opened = [
        OpenedGate(str(n.target), module_path(n), "opened: the path goes on through it, with the rest frozen")
        for n in paths.captured.module.graph.nodes
        if n in paths.bottleneck.linearized
    ]
    passed: Counter[tuple[str, str]] = Counter()
    for gate in dict.fromkeys(_steps_gates(paths)):
        used = next((fn for fn in _PASSED if _uses(gate, fn)), None)
        if used is not None:
            passed[used.__name__.replace("_", " "), _PASSED[used]] += 1
    return (*opened, *(OpenedGate(op, "", f"passed: {why}", n) for (op, why), n in passed.items()))


def _steps_gates(paths: LinearPaths) -> list[Gate]:
    return [a for v in paths.graph.values if isinstance(v, Apply) for a in v.step.args if isinstance(a, Gate)]


def _uses(gate: Gate, fn: Any) -> bool:
    return gate.fn is fn or any(_uses(a, fn) for a in gate.args if isinstance(a, Gate))


def _operations(paths: LinearPaths) -> dict[str, int]:
    nodes = {v.node for i, v in enumerate(paths.graph.values) if i not in paths.graph.leaves or v.kind != CONSTANT}  # type: ignore[union-attr]
    counts = Counter(str(n.target).removeprefix("aten.") for n in nodes if n.op == "call_function")
    return dict(sorted(counts.items(), key=lambda item: -item[1]))
