"""`vitdecomp search`: find images that are like a text or like other images, in everything or in one feature."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from vitdecomp.cli.command import command
from vitdecomp.cli.options import MODEL, CachedOptions, ResultOptions, SingleModelOptions
from vitdecomp_alignment.cli.options import (
    Components,
    ContributionOptions,
    Feature,
    Features,
    ImageRoot,
    Texts,
    count,
)

if TYPE_CHECKING:
    from vitdecomp_alignment.cli.search.searches import SearchConfig

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class QueryOptions:
    """What images are looked for, and by which components."""

    text: Texts = ()
    image: Annotated[tuple[Path, ...], Option(help="A file that they should be like; repeatable.")] = ()
    negative: Annotated[str | None, Option(help="A text that they should not be like.")] = None
    combine: Annotated[str, Option(help="Several references: mean, or best for the nearest one.")] = "mean"
    feature: Feature = None
    components: Components = ()
    without: Annotated[tuple[str, ...], Option(help="Feature that does not count; repeatable.")] = ()
    features: Features = ()
    top: Annotated[
        str | None,
        Option(help="Components of each feature: a number, or auto; default: all along its texts, or 12."),
    ] = None
    subspace: Annotated[str, Option(help="texts: compare where a feature's texts differ; or whole.")] = "texts"
    center: Annotated[bool, Option("--center/--no-center", help="Subtract the mean of all images.")] = True
    k: Annotated[int, Option("--k", min=1, help="Images to find.")] = 10
    keep_reference: Annotated[bool, Option("--keep-reference", help="References may be their own hits.")] = False
    out: Annotated[Path | None, Option(help="Write a sheet: FILE.html or FILE.png.")] = None
    image_root: ImageRoot = ()

    def config(self, source: ContributionOptions, limit: int | None) -> SearchConfig:
        """Give them to the library."""
        from vitdecomp.retrieval import Query, Scope
        from vitdecomp_alignment.cli.search.searches import SearchConfig

        return SearchConfig(
            source.reading(limit),
            Query(text=self.text, image=self.image, negative=self.negative, combine=self.combine),
            Scope(self.feature, self.components, self.without),
            self.features,
            None if self.top is None else count(self.top),
            self.subspace,
            self.center,
            self.k,
            self.keep_reference,
            self.out is not None,
            self.image_root,
        )


@command
def search(
    model: Annotated[str | None, Argument(help=f"{MODEL}; not needed to compare images of a store.")] = None,
    *,
    query: QueryOptions,
    source: ContributionOptions,
    loading: SingleModelOptions,
    reading: CachedOptions,
    result: ResultOptions,
) -> None:
    """Find the images that are like a text or like other images, in everything or in one feature."""
    from vitdecomp.retrieval.sheet import check_sheet, write_sheet
    from vitdecomp_alignment.cli.search import searches
    from vitdecomp_alignment.cli.search.show import show_search

    if query.out is not None:
        check_sheet(query.out)
        if source.store is not None and not query.image_root:
            logger.warning("the sheet has no images: --image-root DIR says where it may take those of a store from")
    options = None if model is None else loading.of(model)
    config = query.config(source, reading.limit)
    found = searches.search(options, config, reading.folder, loading=reading.loading, stage=result.stage)
    if query.out is not None:
        write_sheet(found.sheet(), query.out)
    result.show(found.to_json(), lambda console: show_search(console, found))
