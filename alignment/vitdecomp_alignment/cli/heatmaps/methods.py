"""Methods for heatmaps as the command line names them, with their settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_type_hints

from vitdecomp._utils.registry import did_you_mean
from vitdecomp.errors import SpecError
from vitdecomp.heatmaps import explainers
from vitdecomp.heatmaps.explainer import EXPLAINERS
from vitdecomp.heatmaps.explaining import refusals
from vitdecomp_alignment.aligners.settings import parse_setting
from vitdecomp_alignment.cli.options import Count
from vitdecomp_alignment.texts.feature_words import read_features

ALL, SEED = "all", "seed"
Methods = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class MethodConfig:
    """Say by which methods what part of the model is explained, as the command line has it."""

    methods: tuple[str, ...]
    settings: tuple[str, ...]
    components: tuple[str, ...]
    feature: str | None
    features: tuple[str, ...]
    top: Count
    shifts: int

    def made(self, seed: int) -> dict[str, dict[str, Any]]:
        """Return the settings of each method.

        Args:
            seed: of methods that draw random numbers, unless their setting says otherwise.

        Raises:
            SpecError: no such method or setting.
            LoadError: the plugin of a method cannot be imported.
        """
        known = explainers()
        names = known if ALL in self.methods else tuple(dict.fromkeys(self.methods))
        if ALL in self.methods:
            EXPLAINERS.warn_of_broken()
        for each in names:
            if each not in known and each not in EXPLAINERS.broken:
                near = did_you_mean(each, [*known, ALL]) or f"; there are {', '.join(sorted(known))}"
                raise SpecError(f"no explainer {each!r}{near}")
        takes = {each: _settings_of(each) for each in names}
        every = {setting: kind for each in takes.values() for setting, kind in each.items()}
        given = {SEED: seed} | dict(parse_setting(text, every) for text in self.settings)
        return {each: {s: v for s, v in given.items() if s in takes[each]} for each in names}

    def able(self, methods: Methods, maps_of: Callable[[Methods], object]) -> tuple[Methods, dict[str, str]]:
        """Leave out methods that have no meaning for the model, if all were asked for.

        Args:
            methods: with their settings.
            maps_of: makes maps of an image by some of them.

        Returns:
            Those that are left, and why others are not.

        Raises:
            SpecError: none is left.
        """
        refused = refusals(methods if ALL in self.methods else (), lambda name: maps_of({name: methods[name]}))
        able = {method: settings for method, settings in methods.items() if method not in refused}
        if not able:  # it is not the methods that are wrong
            raise SpecError(next(iter(refused.values())))
        return able, refused

    def words(self, standard: str) -> Mapping[str, Sequence[str]]:
        """Return the words of each feature.

        Args:
            standard: the set of features that is taken if the user gives none.

        Raises:
            SpecError: no such feature, or both a feature and components.
        """
        words = read_features(self.features, standard).words
        if self.feature is not None and self.feature not in words:
            raise SpecError(f"no feature {self.feature!r}{did_you_mean(self.feature, list(words))}")
        if self.feature is not None and self.components:
            raise SpecError("give --feature or --components, not both")
        return words


def left_out(refused: Mapping[str, str]) -> Iterator[str]:
    """Say which methods were left out, and why; those of one reason together."""
    for reason in dict.fromkeys(refused.values()):
        yield f"left out: {', '.join(method for method in refused if refused[method] == reason)}: {reason}"


def _settings_of(method: str) -> dict[str, Any]:
    hints = get_type_hints(EXPLAINERS[method].__init__)
    return {setting: kind for setting, kind in hints.items() if setting != "return"}
