"""The steps of the demo in their order; another step is a file in `steps` and a row in the table, or a plugin's."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from vitdecomp._utils.registry import offered
from vitdecomp.demo.context import Context
from vitdecomp.demo.section import Section
from vitdecomp.demo.steps.causal import causal
from vitdecomp.demo.steps.curves import curves
from vitdecomp.demo.steps.decompose import decompose
from vitdecomp.demo.steps.heatmaps import heatmaps, localised
from vitdecomp.demo.steps.knowledge import knowledge
from vitdecomp.demo.steps.retrieval import retrieval
from vitdecomp.demo.steps.world import world

GROUP = "vitdecomp.demo"
logger = logging.getLogger(__name__)
Need = Callable[[Context], str]


def labels(context: Context) -> str:
    """Labels of the pictures are known."""
    return context.world.unknown


def masks(context: Context) -> str:
    """Check whether it is known where the objects are."""
    return "it is not known where the objects are" if context.world.masks is None else ""


def grid(context: Context) -> str:
    """There is a model whose tokens can be laid over a picture."""
    return "" if localised(context) else "no model has a class token and a grid of 8 x 8 patches"


@dataclass(frozen=True, slots=True)
class Step:
    """One step.

    Attributes:
        name: in the summary, and the anchor on the page. doing: what is said while it runs.
        run: makes the section. needs: each gives the reason why the step has to be left out, or nothing.
        after: the step that a plugin's step follows.
    """

    name: str
    doing: str
    run: Callable[[Context], Section]
    needs: tuple[Need, ...] = ()
    after: str = ""

    def obstacle(self, context: Context) -> str:
        """Say why the step has to be left out; nothing if it can run."""
        return next((why for why in (need(context) for need in self.needs) if why), "")


STEPS = (
    Step("world", "contact sheet", world),
    Step("decompose", "shares of the blocks", decompose),
    Step("knowledge", "what each component knows", knowledge, (labels,)),
    Step("retrieval", "retrieval by components", retrieval, (labels,)),
    Step("causal", "ablation of components", causal, (labels,)),
    Step("curves", "ablation curves", curves, (labels,)),
    Step("heatmaps", "heatmaps", heatmaps, (labels, masks, grid)),
)


def story() -> tuple[Step, ...]:
    """Return all steps in their order, those that plugins bring included."""
    steps = list(STEPS)
    found, broken = offered(GROUP)
    for error in broken.values():
        logger.warning("%s", error)
    waiting: list[Step] = [*found.values()]
    while waiting:
        names = [known.name for known in steps]
        step = next((step for step in waiting if step.after in names), waiting[0])  # one may follow another plugin's
        steps.insert(names.index(step.after) + 1 if step.after in names else len(steps), step)
        waiting.remove(step)
    return tuple(steps)
