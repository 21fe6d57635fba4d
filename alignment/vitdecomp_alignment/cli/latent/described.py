"""Latent tokens of a model's images in words, in batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
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
from vitdecomp.sources.aligner import Aligner
from vitdecomp_alignment.cli.image_batches import ImageBatch, first_and_all
from vitdecomp_alignment.cli.latent.edit_by_words import EditByWords, ReadyEdit
from vitdecomp_alignment.cli.text_space import MAPS, text_space
from vitdecomp_alignment.clip.contributions import check_origins, pictures
from vitdecomp_alignment.clip.maps import MapsToClip
from vitdecomp_alignment.clip.space import ClipSpace
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
    edit = config.edit.ready(latent.decomposer_, texts, space, aligner, config.k) if config.edit else None
    reader = _Reader(latent, texts, space, aligner, config, edit)
    with stage("latent tokens") as progress:
        described = reader.batches(batches, lambda n: progress(n + len(skipped), count))
        _written(reader.page(options.model, described), out)
    done = reader.done
    return DescribedTokens(
        model=options.model,
        clip=space.spec,
        blocks=latent.layers_,
        tokens=latent.tokens_,
        names=tuple(name for batch in done for name in batch.names),
        skipped=tuple(skipped),
        descriptions=_joined([batch.descriptions for batch in done]),
        written=out,
        edit=config.edit,
        outcomes=tuple(outcome for batch in done for outcome in batch.outcomes),
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    """Describe batches of images.

    Attributes:
        latent: reads tokens. texts, space, aligner: the vocabulary. config: which tokens. edit: of the model, if any.
        done: what was found so far, without the images.
    """

    latent: LatentTokens
    texts: Sequence[str]
    space: ClipSpace
    aligner: Aligner | None
    config: LatentConfig
    edit: ReadyEdit | None
    done: list[LatentBatch] = field(default_factory=list)

    def batches(self, batches: Iterable[ImageBatch], told: Callable[[int], object]) -> Iterator[LatentBatch]:
        """Describe batches one after another; say after each how many images are done.

        Raises:
            InputError: an edit that matches no token of any image.
        """
        config = self.config
        for batch in batches:
            found = self.latent.describe(
                batch.images,
                self.texts,
                self.space,
                k=config.k,
                aligner=self.aligner,
                layers=config.layers,
                tokens=config.tokens,
            )
            outcomes = self.edit.outcomes(batch.images) if self.edit else ()
            self.done.append(LatentBatch(batch.names, (), found, outcomes))
            yield LatentBatch(batch.names, list(batch.images.cpu()), found, outcomes)
            told(sum(len(each.names) for each in self.done))
        if self.edit:
            self.edit.check([outcome for each in self.done for outcome in each.outcomes])  # before the page has a name

    def page(self, model: str, batches: Iterable[LatentBatch]) -> LatentPage:
        """Lay batches out as they are described."""
        asked = self.config.edit
        notes = [f"Each token’s most similar texts out of {len(self.texts):,}, in the space of {self.space.spec}."]
        notes += [f"{asked.sentence} They have a dashed frame."] if asked else []
        return LatentPage(f"Tokens of {model} in words", self.latent.layers_, self.latent.tokens_, batches, notes)


def _written(page: LatentPage, out: Path | None) -> None:
    """Write a page; without a place for it, describe all the same."""
    if out is None:
        deque(page.batches, maxlen=0)
    else:
        write_latent_page(page, out)


def _joined(parts: Sequence[Descriptions]) -> Descriptions:
    first = parts[0]
    indices = torch.cat([part.indices.cpu() for part in parts])
    similarities = torch.cat([part.similarities.cpu() for part in parts])
    return Descriptions(first.texts, first.layers, first.tokens, indices, similarities)
