"""`vitdecomp describe`: name components by texts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from typer import Option

from vitdecomp.cli.command import command
from vitdecomp.cli.options import CachedOptions, Model, ResultOptions, SingleModelOptions
from vitdecomp.errors import SpecError
from vitdecomp_alignment.cli.options import Components, ContributionOptions, Features, Pool, TextCount


@dataclass(frozen=True, slots=True)
class TextOptions:
    """Choose the components to name, and the texts."""

    texts: Pool = None
    components: Components = ()
    m: TextCount = 5
    rank: Annotated[int | None, Option(min=1, help="Project the texts onto so many directions.")] = None
    sizes: Annotated[bool, Option("--sizes", help="Show what more texts and larger pools explain.")] = False
    method: Annotated[
        Literal["variance", "readability", "comp"] | None,
        Option(
            help="By what components vary along (through maps), by what can be read from them (--clip, no maps; the "
            "default without --maps), or comp: directions by sums of texts."
        ),
    ] = None
    roles: Annotated[bool, Option("--roles", help="Give every component a role: the feature that it sees.")] = False
    features: Features = ()

    def chosen(self, maps: Path | None) -> str:
        """Return the method: readability, unless maps or flags of the other one are given.

        Raises:
            SpecError: a flag that the method does not have.
        """
        spans = self.sizes or self.rank is not None
        if self.features and not self.roles:
            raise SpecError("--features are what --roles chooses from: add --roles, or leave them out")
        if self.roles and (self.texts is not None or self.method not in (None, "readability") or maps or spans):
            raise SpecError(
                "--roles reads the words of --features from components: leave out --texts, --maps, --sizes, --rank and "
                f"--method {self.method or 'variance'}"
            )
        if self.method in ("readability", "comp") and spans:
            raise SpecError(f"--method {self.method} has neither --sizes nor --rank: leave them out")
        return self.method or ("readability" if maps is None and not spans else "variance")


@command
def describe(
    model: Model,
    *,
    texts: TextOptions,
    source: ContributionOptions,
    loading: SingleModelOptions,
    reading: CachedOptions = CachedOptions(limit=1000),
    result: ResultOptions,
) -> None:
    """Name every component of a model by texts."""
    method = texts.chosen(source.maps)
    if method in OTHERS:
        OTHERS[method](model, texts, source, loading, reading, result)
        return
    from vitdecomp_alignment.cli.describe import descriptions
    from vitdecomp_alignment.cli.describe.show import descriptions_json, show_descriptions
    from vitdecomp_alignment.textspan.span_sizes import span_sizes

    config = descriptions.DescribeConfig(source.reading(reading.limit), texts.texts, texts.components)
    described = descriptions.in_words(
        loading.of(model), config, reading.folder, loading=reading.loading, stage=result.stage
    )
    with result.progress("choosing texts") as progress:
        rows = descriptions.described(described, texts.m, texts.rank, progress)
        effects = (
            span_sizes(described.c, described.texts, rank=texts.rank, random_state=loading.seed) if texts.sizes else []
        )
    summary = described.summary(model)
    result.show(
        descriptions_json(summary, rows, effects), lambda console: show_descriptions(console, summary, rows, effects)
    )


def _describe_readable(
    model: str,
    texts: TextOptions,
    source: ContributionOptions,
    loading: SingleModelOptions,
    reading: CachedOptions,
    result: ResultOptions,
) -> None:
    """Name components by what can be read from them."""
    from vitdecomp_alignment.cli.describe.descriptions import DescribeConfig
    from vitdecomp_alignment.cli.describe.readable import read_out, readable, show_readable

    features = texts.features if texts.roles else None
    config = DescribeConfig(source.reading(reading.limit), texts.texts, texts.components, features)
    described, seen = read_out(loading.of(model), config, reading.folder, loading=reading.loading, stage=result.stage)
    with result.progress("reading texts out") as progress:
        rows = readable(described, seen, texts.m, loading.seed, progress)
    summary = described.summary(model)
    result.show({**summary, "components": rows}, lambda console: show_readable(console, summary, rows))


def _describe_directions(
    model: str,
    texts: TextOptions,
    source: ContributionOptions,
    loading: SingleModelOptions,
    reading: CachedOptions,
    result: ResultOptions,
) -> None:
    """Name directions of components by coherent sums of texts."""
    from vitdecomp_alignment.cli.describe.coherent import coherent, in_directions, show_coherent
    from vitdecomp_alignment.cli.describe.descriptions import DescribeConfig

    config = DescribeConfig(source.reading(reading.limit), texts.texts, texts.components)
    found = in_directions(loading.of(model), config, reading.folder, loading=reading.loading, stage=result.stage)
    with result.progress("choosing texts") as progress:
        rows = coherent(found, texts.m, progress)
    summary = found.summary(model)
    result.show({**summary, "directions": rows}, lambda console: show_coherent(console, summary, rows))


OTHERS = {"readability": _describe_readable, "comp": _describe_directions}
