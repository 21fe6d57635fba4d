"""`vitdecomp app`: look into a model on a local page."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from vitdecomp.cli.command import command
from vitdecomp.cli.options import MODEL, CachedOptions, ResultOptions, SingleModelOptions
from vitdecomp.errors import SpecError
from vitdecomp_alignment.cli.options import ContributionOptions, Features, ImageRoot

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PageOptions:
    """Say where the page is served, and what it may show."""

    features: Features = ()
    image_root: ImageRoot = ()
    data: Annotated[
        Path | None, Option(help="Images with classes and groups, for cues; default: the embedded world.")
    ] = None
    host: Annotated[str, Option(help="Address to listen at; the default is reached from this machine alone.")] = (
        "127.0.0.1"
    )
    port: Annotated[int, Option(min=0, max=65535, help="0 for any that is free.")] = 8399
    browser: Annotated[bool, Option("--browser/--no-browser", help="Open a browser.")] = True


@command
def app(
    model: Annotated[str | None, Argument(help=f"{MODEL}; default: that of the store, or scenes:clip.")] = None,
    *,
    page: PageOptions,
    source: ContributionOptions,
    loading: SingleModelOptions,
    reading: CachedOptions = CachedOptions(limit=1000),
    result: ResultOptions,
) -> None:
    """Look into a model on a local page: components, searches, images, cues."""
    from vitdecomp_alignment.app.run import check_extra, listen, serve, share_cores

    share_cores()
    check_extra()
    from vitdecomp_alignment.app.config import SessionConfig
    from vitdecomp_alignment.app.guard import is_loopback
    from vitdecomp_alignment.app.session import Session

    if source.reading(reading.limit).directions is not None:
        raise SpecError("--directions: the page shows whole components; describe, rank and search take directions")
    if not is_loopback(page.host):
        logger.warning("whoever reaches %s can use the page: there is no password", page.host)
    config = SessionConfig(
        loading.of,
        model,
        source.reading(reading.limit),
        page.features,
        page.image_root,
        page.data,
        reading.folder,
        reading.loading,
    )
    with listen(page.host, page.port) as taken:  # before a model is loaded for nothing
        session = Session.of(config, result.stage)
        serve(session, taken, page.host, browser=page.browser, ready=typer.echo)
