"""A cue: which groups a classifier gets wrong because of it, before and after it is removed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from vitdecomp._utils.checksum import digest
from vitdecomp._utils.progress import Stage
from vitdecomp._utils.schema import Within
from vitdecomp.ablation import Plan
from vitdecomp.datasets.grouped import Grouped, read
from vitdecomp.errors import SpecError
from vitdecomp.scenes.folder import cached_scenes
from vitdecomp_alignment.app import recipe
from vitdecomp_alignment.app.session import Session
from vitdecomp_alignment.cli.debias.debiasing import WORLD, DebiasConfig, remove

IMAGES = 400  # of each split of the embedded world
OUT = "without-cue.safetensors"


@dataclass(frozen=True, slots=True)
class CueView:
    """Remove a cue.

    Attributes:
        spurious, core: words, separated by commas. top: components to remove.
        refit: fit the head again. subspace: remove only what the words see of the components.
        limit: images of each split.
    """

    spurious: str
    core: str
    top: Annotated[int, Within(1, 10_000)] = 10
    refit: bool = False
    subspace: bool = False
    limit: Annotated[int, Within(8, 2000)] = IMAGES

    def answer(self, session: Session, stage: Stage) -> dict[str, Any]:
        """Return accuracies of all groups before and after, and the components; write the model without the cue.

        Raises:
            SpecError: no words, or more components than there are.
            InputError: no labelled images.
        """
        out = session.folder / self.file_name
        config = self._config(session, out)
        with stage("images"):
            halves = self._halves(session)
        found = remove(
            session.options,
            lambda: halves,
            config,
            session.cache,
            loading=session.config.loading,
            stage=stage,
            subject=session.subject,
        )
        told = found.to_json()
        runs = found.runs
        before, after = (
            [float(np.mean([getattr(run, name).groups[g] for run in runs])) for g in range(len(told["groups"]))]
            for name in ("before", "after")
        )
        told["accuracy"] = [
            {"group": name, "before": b, "after": a} for name, b, a in zip(told["groups"], before, after, strict=True)
        ]
        return {**{k: told[k] for k in ("images", "summary", "components", "accuracy")}, "download": out.name}

    @property
    def file_name(self) -> str:
        """The name of the file with the model, which tells requests apart."""
        return f"cue-{digest([repr(self)])[:24]}.safetensors"

    def commands(self, session: Session) -> list[str]:
        """Write what measures the same, and writes the same model."""
        flags = {"--spurious": self.spurious, "--core": self.core, "--top": self.top, "--limit": self.limit}
        flags |= {"--images": session.config.labelled, "--out": OUT}
        flags |= {"--by": None if session.config.reading.by == "head" else session.config.reading.by}
        words = [*recipe.given(flags), *(["--refit"] if self.refit else []), *(["--subspace"] if self.subspace else [])]
        return [recipe.command(session, "debias", *words, images="")]

    def python(self, session: Session) -> str:
        """Write what reads the model that the page offers for download."""
        return (
            f"# made by: {self.commands(session)[0]}\n"
            "import vitdecomp as vd\n\n"
            f"model = vd.Debiased.load({OUT!r})  # images to logits, without the cue\n"
        )

    def _config(self, session: Session, out: Path) -> DebiasConfig:
        spurious, core = (tuple(word.strip() for word in text.split(",")) for text in (self.spurious, self.core))
        for name, words in (("cue", spurious), ("class", core)):
            if not all(words):
                raise SpecError(f"words of the {name} are missing: give some, with commas between them")
        reading = session.config.reading
        return DebiasConfig(
            spurious=spurious,
            core=core,
            plan=Plan(k=self.top, refit=self.refit),
            maps=reading.maps,
            clip=reading.clip,
            by=session.store.metadata.by,
            subspace=self.subspace,
            out=out,
        )

    def _halves(self, session: Session) -> tuple[Grouped, Grouped]:
        place = session.config.labelled
        if place is None:
            place = cached_scenes(session.cache, WORLD, "train", "test", subset="waterbirds")
        return read(place).halves(self.limit)
