"""Latent tokens of a model's images in words, in batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from vitdecomp._utils.progress import Stage
from vitdecomp.component import Token
from vitdecomp.decompose import Decomposer
from vitdecomp.latent import Descriptions, LatentTokens
from vitdecomp.latent.outcome import EditOutcome
from vitdecomp.latent.page import LatentBatch, LatentPage, write_latent_page
from vitdecomp.models.image_loader import Loading
from vitdecomp.models.prepare import ModelOptions, fitted, prepare
from vitdecomp_alignment.cli.image_batches import first_and_all
from vitdecomp_alignment.cli.latent.edit_by_words import EditByWords
from vitdecomp_alignment.cli.text_space import MAPS, text_space
from vitdecomp_alignment.clip.contributions import check_origins, pictures
from vitdecomp_alignment.clip.maps import MapsToClip
from vitdecomp_alignment.texts import named_texts, usual_texts


@dataclass(frozen=True, slots=True)
class LatentConfig:
    """Say which tokens are described, and by which texts, as the command line has it.

    Attributes:
        images: by default those of the embedded world. texts: the name of a pool, or a file; by default what suits the
            CLIP. k: texts of each token. layers, tokens: their numbers, `None` for all. maps, clip: for models without
            texts. limit: images at most, `None` for all. edit: which tokens are removed, if any.
    """

    images: Path | None
    texts: str | None
    k: int
    layers: tuple[int, ...] | None
    tokens: tuple[int, ...] | None
    maps: Path | None
    clip: str | None
    limit: int | None
    edit: EditByWords | None = None


@dataclass(frozen=True, slots=True)
class DescribedTokens:
    """Tokens of images in words.

    Attributes:
        model, clip: their specs. blocks: paths of the model's blocks. tokens: what each of the model's tokens is.
        names: of the images. skipped: what could not be read. descriptions: of all images. written: the page, if any.
        edit: what was asked for. outcomes: what it did to each image.
    """

    model: str
    clip: str
    blocks: tuple[str, ...]
    tokens: tuple[Token, ...]
    names: tuple[str, ...]
    skipped: tuple[str, ...]
    descriptions: Descriptions
    written: Path | None
    edit: EditByWords | None
    outcomes: tuple[EditOutcome, ...]


def describe_tokens(
    options: ModelOptions, config: LatentConfig, cache: Path, *, loading: Loading, stage: Stage, out: Path | None
) -> DescribedTokens:
    """Describe the tokens of all images, and write them to a page as they are described.

    One batch of images is held at a time, and of all images the numbers of texts.

    Args:
        options: the model.
        config: which tokens, and which texts.
        cache: folder for what can be computed again.
        loading: how images are read.
        stage: shows what is being done.
        out: the page; `None` to write none.

    Raises:
        SpecError: no such model, layer or token; tokens that say nothing by themselves; or nobody reads texts.
        InputError: no images or texts, none that can be read, maps of another model, or an edit that matches no token.
        OutputError: the page cannot be written.
    """
    chosen = named_texts(config.texts) if config.texts else None  # before the model runs, since it may not exist
    place = pictures(config.images, cache)
    maps = None if config.maps is None else MapsToClip.read(config.maps, clip=config.clip, model=options.model)
    aligner = None if maps is None else maps.aligner
    count, skipped = len(range(len(place.pictures))[: config.limit]), list[str]()
    with stage(f"tracing {options.model}"):
        subject = prepare(options)
        check_origins(subject, aligner, place)
        first, batches = first_and_all(place, count, subject, loading, skipped)
        latent = LatentTokens(fitted(Decomposer(subject.loaded).fit, first.images[:1], subject)).fit(first.images[:1])
        space = text_space(subject, maps, cache, MAPS)  # maps would not help a model without tokens
    texts = chosen or usual_texts(space.spec)
    edit = config.edit and config.edit.ready(latent.decomposer_, texts, space, aligner, config.k)
    done = list[LatentBatch]()
    with stage("latent tokens") as progress:

        def made() -> Iterator[LatentBatch]:
            for batch in batches:
                found = latent.describe(
                    batch.images, texts, space, k=config.k, aligner=aligner, layers=config.layers, tokens=config.tokens
                )
                outcomes = edit.outcomes(batch.images) if edit else ()
                done.append(LatentBatch(batch.names, (), found, outcomes))
                yield LatentBatch(batch.names, list(batch.images.cpu()), found, outcomes)
                progress(sum(len(each.names) for each in done) + len(skipped), count)
            if edit:
                edit.check([outcome for each in done for outcome in each.outcomes])  # before the page takes its name

        notes = [f"Each token’s most similar texts out of {len(texts):,}, in the space of {space.spec}."]
        notes += [f"{config.edit.sentence} They have a dashed frame."] if config.edit else []
        page = LatentPage(f"Tokens of {options.model} in words", latent.layers_, latent.tokens_, made(), notes)
        if out is None:
            deque(page.batches, maxlen=0)
        else:
            write_latent_page(page, out)
    names = tuple(name for batch in done for name in batch.names)
    descriptions = _joined([batch.descriptions for batch in done])
    outcomes = tuple(outcome for batch in done for outcome in batch.outcomes)
    return DescribedTokens(
        model=options.model,
        clip=space.spec,
        blocks=latent.layers_,
        tokens=latent.tokens_,
        names=names,
        skipped=tuple(skipped),
        descriptions=descriptions,
        written=out,
        edit=config.edit,
        outcomes=outcomes,
    )


def _joined(parts: Sequence[Descriptions]) -> Descriptions:
    first = parts[0]
    indices = torch.cat([part.indices.cpu() for part in parts])
    similarities = torch.cat([part.similarities.cpu() for part in parts])
    return Descriptions(first.texts, first.layers, first.tokens, indices, similarities)
