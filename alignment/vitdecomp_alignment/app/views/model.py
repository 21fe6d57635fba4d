"""The model: blocks by heads, colored by a measure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from vitdecomp._utils.progress import Stage
from vitdecomp._utils.registry import did_you_mean
from vitdecomp.errors import SpecError
from vitdecomp_alignment.app import recipe
from vitdecomp_alignment.app.names import TEXTS, name_components
from vitdecomp_alignment.app.session import Session
from vitdecomp_alignment.app.sizes import measured

MEANINGS: Mapping[str, str] = {
    "norm": "mean length of the contribution",
    "share": "share of the variance of all contributions",
    "score": "correlation with the sum, along the texts of the feature",
    "name": "how well the first text of its name can be read from it, held-out R²",
}
SPANNED = "share of its variance along the first text of its name"


@dataclass(frozen=True, slots=True)
class ModelView:
    """Measure all components.

    Attributes:
        measure: by what they are colored. feature: for scores.
    """

    measure: Literal["norm", "share", "score", "name"] = "norm"
    feature: str | None = None

    def answer(self, session: Session, stage: Stage) -> dict[str, Any]:
        """Return a value for each component that has one, by its name; `images` `of` all tell how many were looked at.

        Raises:
            SpecError: no such feature.
        """
        values, names, meaning = dict[str, float](), dict[str, str](), MEANINGS[self.measure]
        if self.measure == "score":
            feature = self._feature(session)
            scorer = session.sample_scorer(stage)
            row = scorer.scores_[scorer.features_.index(feature)].tolist()
            values = {c.name: score for c, score in zip(scorer.components_, row, strict=True) if not c.is_constant}
        elif self.measure == "name":
            found = name_components(session, session.components, stage)
            values, names, spanned = _first(found)
            meaning = SPANNED if spanned else meaning
        else:
            place = 0 if self.measure == "norm" else 1
            values = {name: both[place] for name, both in measured(session, stage).items()}
        n = len(session.sample(stage))
        return {"values": values, "names": names, "meaning": meaning, "images": n, "of": len(session.store)}

    def commands(self, session: Session) -> list[str]:
        """Write what prints the same numbers."""
        if session.is_large:  # a command reads all images
            return [recipe.shell_python(self.python(session))]
        if self.measure == "score":
            n = sum(not c.is_constant for c in session.components)
            features = recipe.repeated("--features", session.config.features)
            return [recipe.command(session, "rank", *features, f"--top={n}", "--json")]
        if self.measure == "name":
            return [recipe.command(session, "describe", f"--m={TEXTS}", "--json")]
        return [recipe.shell_python(self.python(session))]

    def python(self, session: Session) -> str:
        """Write what prints the same numbers."""
        if self.measure == "score":
            row = f"scorer.scores_[scorer.features_.index({self._feature(session)!r})]"
            loop = f"for component, score in zip(scorer.components_, {row}):"
            lines = ["scorer = session.sample_scorer()", loop, "    print(component, score)"]
        elif self.measure == "name":
            lines = [
                "from vitdecomp._utils.progress import unseen",
                "from vitdecomp_alignment.app.names import name_components",
                "",
                "for name, found in name_components(session, session.components, unseen).items():",
                '    print(name, found["texts"][0])',
            ]
        else:
            lines = [
                "from vitdecomp_alignment.app.sizes import measured",
                "",
                "for name, (norm, share) in measured(session).items():",
                f"    print(name, {self.measure})",
            ]
        return recipe.python(session, *lines)

    def _feature(self, session: Session) -> str:
        known = list(session.words)
        feature = known[0] if self.feature is None else self.feature
        if feature not in known:
            raise SpecError(f"no feature {feature!r}{did_you_mean(feature, known)}")
        return feature


def _first(found: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, float], dict[str, str], bool]:
    """Take the first text of every name with its figure; and tell whether figures are shares of the variance."""
    spanned = any(one["method"] == "variance" for one in found.values())
    key = "explained" if spanned else "r2"
    told = {name: one for name, one in found.items() if one["texts"]}
    values = {name: float(one["texts"][0][key]) for name, one in told.items()}
    names = {name: one["texts"][0]["text"] for name, one in told.items() if one.get("named", True)}
    return values, names, spanned
