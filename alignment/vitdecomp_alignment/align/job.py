"""An alignment that was asked for, and the work that one process does for it, alone or with others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitdecomp._utils.files import check_file
from vitdecomp._utils.progress import Clock, Stage, unseen
from vitdecomp.distributed.process_group import ranks
from vitdecomp.models.image_loader import Loading
from vitdecomp_alignment.align import alignments
from vitdecomp_alignment.align.alignments import Judged
from vitdecomp_alignment.align.pairs import Pairing, gather_in_turn
from vitdecomp_alignment.aligners.linear import LinearAligner
from vitdecomp_alignment.aligners.settings import make_aligner


@dataclass(frozen=True, slots=True)
class Job:
    """What to align, as another process can be told of it.

    Attributes:
        pairing: the images and the models. loading: how images are read.
        method, settings: the aligner, and some of its arguments as `NAME=VALUE`. seed: its random state.
        out: file for the maps. resume: go on with an interrupted training.
        report_seeds: repetitions in a report that judges all aligners; 0 makes none.

    Raises:
        SpecError: there is no such aligner or argument.
        OutputError: the file cannot be written.
    """

    pairing: Pairing
    loading: Loading
    out: Path
    method: str = "compalign"
    settings: tuple[str, ...] = ()
    seed: int = 0
    resume: bool = True
    report_seeds: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be done before anything is read."""
        self.aligner()
        check_file(self.out)

    def aligner(self) -> LinearAligner:
        """The aligner, not fitted yet."""
        return make_aligner(self.method, self.seed, self.settings)


@dataclass(frozen=True, slots=True)
class Alignment:
    """What became of it.

    Attributes:
        summary: what was made, in plain values. seconds: of each part of the work. tables: of the report.
    """

    summary: dict[str, Any]
    seconds: dict[str, float]
    tables: tuple[Judged, ...]


def work(job: Job, stage: Stage = unseen) -> Alignment | None:
    """Align, in this process and in those that torchrun or Ray started with it, which all call this.

    Args:
        job: the same in all of them.
        stage: shows the parts of the work, in the first process.

    Returns:
        What became of it, in the first process; the others have `None`.

    Raises:
        InputError: no images, or one that cannot be read, or a store of other images.
        OutputError: the result or the cache cannot be written.
        SpecError, LoadError: no such model, or its weights cannot be had; an aligner that cannot share the work.
        RankError: another process has ended.
    """
    aligner = job.aligner()
    with ranks() as mine:
        clock = Clock(stage if mine.first else unseen)
        if mine.first and not job.resume:
            alignments.training_file(job.out).unlink(missing_ok=True)
        pairs = gather_in_turn(job.pairing, mine, loading=job.loading, stage=clock)
        fitted = alignments.fit(pairs, aligner, job.out, clock, mine)
    if not mine.first:
        return None
    tables = list[Judged]()
    if job.report_seeds:
        tables = alignments.report(pairs, job.pairing, loading=job.loading, seeds=job.report_seeds, stage=clock)
    summary = alignments.summary(pairs, job.pairing, fitted, job.out)
    return Alignment(summary, clock.seconds, tuple(tables))
