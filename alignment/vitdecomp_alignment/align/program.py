"""`vitdecomp align` as a program of an executor: what to align, the work of one process, the result."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vitdecomp._utils.files import check_file
from vitdecomp._utils.progress import Clock, Stage, unseen
from vitdecomp.distributed.executor import Program
from vitdecomp.distributed.executor import executor as make_executor
from vitdecomp.distributed.process_group import ranks
from vitdecomp.errors import OutputError
from vitdecomp.models.image_loader import Loading
from vitdecomp_alignment.align import alignments
from vitdecomp_alignment.align.alignments import Judged
from vitdecomp_alignment.align.pairs import Pairing, gather_in_turn
from vitdecomp_alignment.aligners.linear import LinearAligner
from vitdecomp_alignment.aligners.settings import make_aligner


@dataclass(frozen=True, slots=True)
class AlignResult:
    """Hold what was fitted.

    Attributes:
        summary: as plain values. seconds: of each part of the work. tables: of the report.
    """

    summary: dict[str, Any]
    seconds: dict[str, float]
    tables: tuple[Judged, ...]


@dataclass(frozen=True, slots=True)
class AlignConfig(Program[AlignResult]):
    """Say what to align. All processes of a run call it, and share the work.

    Attributes:
        pairing: the images and the models. loading: how images are read.
        out: file for the maps.
        method, settings: the aligner, and some of its arguments as `NAME=VALUE`. seed: its random state.
        resume: go on with an interrupted training.
        report_seeds: repetitions in a report that compares all aligners; 0 for no report.

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
        """Check the settings before anything is read."""
        self.aligner()
        check_file(self.out)

    @property
    def device(self) -> str:
        """The device of the models."""
        return self.pairing.subject.device

    def resumed(self) -> AlignConfig:
        """Go on with the training that was interrupted."""
        return replace(self, resume=True)

    def aligner(self) -> LinearAligner:
        """Make the aligner, which is not fitted yet."""
        return make_aligner(self.method, self.seed, self.settings)

    def __call__(self, stage: Stage = unseen) -> AlignResult | None:
        """Gather the images, fit the aligner, save and measure it.

        Args:
            stage: shows the parts of the work, in the first process.

        Returns:
            The result, in the first process; `None` in the others.

        Raises:
            InputError: no images, or one that cannot be read, or a store of other images.
            OutputError: the result or the cache cannot be written.
            SpecError, LoadError: no such model, or its weights cannot be loaded; an aligner that cannot share the work.
            RankError: another process has ended.
        """
        aligner = self.aligner()
        with ranks() as own:
            clock = Clock(stage if own.first else unseen)
            if own.first and not self.resume:
                alignments.training_file(self.out).unlink(missing_ok=True)
            pairs = gather_in_turn(self.pairing, own, loading=self.loading, stage=clock)
            fitted = alignments.fit(pairs, aligner, self.out, clock, own)
        if not own.first:
            return None
        tables = list[Judged]()
        if self.report_seeds:
            tables = alignments.report(pairs, self.pairing, loading=self.loading, seeds=self.report_seeds, stage=clock)
        summary = alignments.summary(pairs, self.pairing, fitted, self.out)
        return AlignResult(summary, clock.seconds, tuple(tables))


def align(
    config: AlignConfig, stage: Stage = unseen, *, executor: str = "local", address: str | None = None
) -> AlignResult | None:
    """Align with an executor, which may use a cluster at an address.

    Returns:
        The result, in the first process; `None` in the others.

    Raises:
        SpecError: there is no such executor, or it cannot be used here.
        OutputError: the maps were written on another machine.
        VitdecompError: whatever else `config` raises.
    """
    result = make_executor(executor, address).run(config, stage)
    if result is not None and not config.out.exists():
        raise OutputError(f"{config.out} was written on another machine: choose an --out that all machines share")
    return result
