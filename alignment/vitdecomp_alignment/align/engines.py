"""Who carries an alignment out, by name."""

from __future__ import annotations

from collections.abc import Callable

from vitdecomp._utils.progress import Stage
from vitdecomp._utils.registry import plugin
from vitdecomp.errors import SpecError
from vitdecomp_alignment.align.job import Alignment, Job, work

Engine = Callable[[Job, Stage, str | None], Alignment | None]
"""Does a job, shows its parts, and may use a cluster at an address; all but one process of a run get `None`."""
GROUP = "vitdecomp.align_engines"


def local(job: Job, stage: Stage, address: str | None) -> Alignment | None:
    """Align in this process, and in those that torchrun or accelerate started with it.

    Raises:
        SpecError: there is an address, or whatever else `work` raises.
    """
    if address is not None:
        raise SpecError("--address is that of a cluster: add --engine ray")
    return work(job, stage)


def engine(name: str) -> Engine:
    """An engine by its name.

    Raises:
        SpecError: there is none.
    """
    found: Engine = plugin(GROUP, "engine", name)
    return found
