"""Whether stated R^2 holds on images that had no part in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vitdecomp._utils.files import atomic

SURE = 2  # standard errors
PANEL = 1.9  # inches
NAMED, UNNAMED = "#00796b", "#9e9e9e"


@dataclass(frozen=True)
class Calibration:
    """R^2 of the first text of every component.

    Attributes:
        stated: on images held out, by folds. errors: its standard errors. found: on fresh images.
        named: whether it beats the control.
    """

    stated: Sequence[float]
    errors: Sequence[float]
    found: Sequence[float]
    named: Sequence[bool]

    @classmethod
    def joined(cls, parts: Sequence[Calibration]) -> Calibration:
        """Take several together."""
        return cls(*(tuple(x for part in parts for x in getattr(part, name)) for name in cls.__dataclass_fields__))

    @property
    def difference(self) -> float:
        """The mean of what is found over what is stated."""
        return float(np.mean(np.subtract(self.found, self.stated)))

    @property
    def within(self) -> float:
        """The share that is found within two standard errors of what is stated."""
        return float(np.mean(np.abs(np.subtract(self.found, self.stated)) <= SURE * np.asarray(self.errors)))

    def sentence(self) -> str:
        """Write both."""
        correlation = np.corrcoef(self.stated, self.found)[0, 1]
        return (
            f"R2 on fresh scenes is {self.difference:+.3f} from what is stated, in the mean over "
            f"{len(self.stated)} components, with correlation {correlation:.3f}; {self.within:.0%} lie within two "
            "standard errors"
        )


def draw(every: Mapping[str, Calibration], out: Path) -> None:
    """Write stated and found R^2 side by side, as `naming.png`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(PANEL * len(every), PANEL + 0.3), layout="constrained", dpi=130)
    axes = figure.subplots(1, len(every), squeeze=False, sharex=True, sharey=True)[0]
    for axis, (spec, one) in zip(axes, every.items(), strict=True):
        axis.plot([0, 1], [0, 1], color="#bdbdbd", linewidth=0.8)
        for named, color in ((True, NAMED), (False, UNNAMED)):
            rows = np.flatnonzero(np.equal(one.named, named))
            stated, errors, found = (np.asarray(x)[rows] for x in (one.stated, one.errors, one.found))
            axis.errorbar(stated, found, xerr=SURE * errors, fmt=".", markersize=3, linewidth=0.4, color=color)
        axis.set_title(spec, fontsize=7)
        axis.set_xlabel("stated", fontsize=7)
        axis.tick_params(labelsize=6)
        axis.set_aspect("equal")
    axes[0].set_ylabel("found on fresh scenes", fontsize=7)
    with atomic(out / "naming.png") as partial:
        figure.savefig(partial, format="png", metadata={"Software": None})
