"""The classifier without a cue, as a module of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Int64

from vitdecomp._utils.files import check_file
from vitdecomp.ablation import Ablator, LinearHead, Plan, Run
from vitdecomp.ablation.debias import cleaned
from vitdecomp.ablation.linear_head import totals
from vitdecomp.decompose import Decomposer
from vitdecomp.deploy.debiased import Debiased, debiased
from vitdecomp.errors import SpecError
from vitdecomp.models.prepare import PreparedModel
from vitdecomp.sources.source import Source
from vitdecomp.units import Directions

CONSTANT = ("zero", "mean")  # what a module can put in a component's place


def check_out(out: Path | None, plan: Plan) -> None:
    """Refuse at once what could not be written at the end.

    Raises:
        SpecError: a replacement that needs more than the image.
        OutputError: a place that cannot be written.
    """
    if out is None:
        return
    if plan.value not in CONSTANT:
        raise SpecError(f"--out: a module cannot have --value {plan.value}, only {' or '.join(CONSTANT)}")
    check_file(out)


def deployed(
    prepared: PreparedModel,
    by: str,
    source: Source,
    labels: Int64[np.ndarray, " n"],
    run: Run,
    plan: Plan,
    head: LinearHead | None,
    directions: Directions | None,
) -> Debiased:
    """Build the model without the components that one repetition took away, and a head behind it.

    Args:
        prepared: the model.
        by: its granularity.
        source: the training images, all of which the replacement and the head learn from.
        labels: their classes.
        run: names the components.
        plan: how they are replaced, and how a head is fitted.
        head: one that is there already.
        directions: that split the components, if they are.
    """
    ablator = Ablator(
        list(run.components), value=plan.value, directions=plan.directions, aligner=plan.aligner, random_state=0
    ).fit(source)
    if head is None:
        seen = cleaned(source, ablator, run.components) if plan.refit else totals(source)
        classes = int(labels.max()) + 1
        head = LinearHead.fit(seen, labels, classes, strength=plan.strength, balanced=plan.balanced)
    decomposer = Decomposer(prepared.loaded, by=by)
    return debiased(decomposer.fit(prepared.example(None, 1)[0]), ablator, head, directions=directions)
