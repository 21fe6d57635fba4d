"""`vitdecomp search`: find images that are like a text or like other images, in everything or in one feature."""

from __future__ import annotations

import json
import logging
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from vitdecomp._utils.console import progress_bar, stdout
from vitdecomp.cli.flags import (
    MODEL,
    BatchSize,
    Cache,
    Checkpoint,
    Device,
    Dtype,
    ImageSize,
    Json,
    Limit,
    NumWorkers,
    Quiet,
    RandomWeights,
    Seed,
    SkipUnreadable,
)
from vitdecomp.cli.terminal import verb
from vitdecomp_alignment.cli.flags import By, Clip, Images, Maps

logger = logging.getLogger(__name__)
Names = list[str]


@verb
def search(  # noqa: PLR0913 - one parameter per flag
    model: Annotated[str | None, typer.Argument(help=f"{MODEL}; not needed to compare images of a store.")] = None,
    *,
    text: Annotated[Names | None, typer.Option(help="What images should be like; repeatable.")] = None,
    image: Annotated[list[Path] | None, typer.Option(help="A file that they should be like; repeatable.")] = None,
    negative: Annotated[str | None, typer.Option(help="A text that they should not be like.")] = None,
    combine: Annotated[str, typer.Option(help="Several references: mean, or best for the nearest one.")] = "mean",
    feature: Annotated[str | None, typer.Option(help="What they should share, such as location.")] = None,
    components: Annotated[Names | None, typer.Option(help="Name or pattern instead; repeatable.")] = None,
    without: Annotated[Names | None, typer.Option(help="Feature that does not count; repeatable.")] = None,
    features: Annotated[
        Names | None,
        typer.Option(help="Words: NAME=WORD,WORD, FILE.json, or photographs or scenes for a set; repeatable."),
    ] = None,
    top: Annotated[
        str | None,
        typer.Option(help="Components of a feature: a number, or auto; default: all along its words, or 12."),
    ] = None,
    subspace: Annotated[str, typer.Option(help="texts: compare where a feature's words differ; or whole.")] = "texts",
    center: Annotated[bool, typer.Option("--center/--no-center", help="Take off the mean of all images.")] = True,
    k: Annotated[int, typer.Option("--k", min=1, help="Images to find.")] = 10,
    keep_reference: Annotated[bool, typer.Option("--keep-reference", help="May be its own hit.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write a sheet: FILE.html or FILE.png.")] = None,
    pictures: Annotated[
        list[Path] | None, typer.Option(help="Folder that a sheet may take a store's images from; repeatable.")
    ] = None,
    maps: Maps = None,
    clip: Clip = None,
    images: Images = None,
    store: Annotated[str | None, typer.Option(help="What `extract` wrote, in place of images; or its URI.")] = None,
    by: By = "head",
    random_weights: RandomWeights = False,
    checkpoint: Checkpoint = None,
    device: Device = "auto",
    dtype: Dtype = None,
    seed: Seed = 0,
    image_size: ImageSize = None,
    batch_size: BatchSize = 32,
    num_workers: NumWorkers = 0,
    limit: Limit = None,
    skip_unreadable: SkipUnreadable = False,
    cache: Cache = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find the images that are like a text or like other images, in everything or in one feature."""
    from vitdecomp._utils.files import cache_directory
    from vitdecomp.models.image_loader import Loading
    from vitdecomp.models.prepare import ModelOptions
    from vitdecomp.retrieval import Query, Scope
    from vitdecomp.retrieval.sheet import check_sheet, write_sheet
    from vitdecomp_alignment.cli.count import count
    from vitdecomp_alignment.cli.search import searches
    from vitdecomp_alignment.cli.search.show import show_search
    from vitdecomp_alignment.clip.contributions import Reading

    if out is not None:
        check_sheet(out)
        if store is not None and not pictures:
            logger.warning("the sheet has no images: --pictures DIR says where it may take those of a store from")
    others = (random_weights, checkpoint, device, dtype, seed, image_size)
    options = None if model is None else ModelOptions(model, *others)
    searching = searches.Searching(
        Reading(images, maps, clip, by, limit, store),
        Query(text=tuple(text or ()), image=tuple(image or ()), negative=negative, combine=combine),
        Scope(feature, tuple(components or ()), tuple(without or ())),
        tuple(features or ()),
        None if top is None else count(top),
        subspace,
        center,
        k,
        keep_reference,
        out is not None,
        tuple(pictures or ()),
    )
    loading, stage = Loading(batch_size, num_workers, skip_unreadable), partial(progress_bar, quiet=quiet)
    found = searches.search(options, searching, cache or cache_directory(), loading=loading, stage=stage)
    if out is not None:
        write_sheet(found.sheet(), out)
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=1))
    else:
        show_search(stdout(), found)
