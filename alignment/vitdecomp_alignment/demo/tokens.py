"""CLIP's latent tokens of some pictures in words, on a page of their own."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from vitdecomp.demo.context import Context
from vitdecomp.demo.section import Page
from vitdecomp.errors import SpecError
from vitdecomp.latent import LatentTokens
from vitdecomp.latent.page import LatentBatch, LatentPage, write_latent_page
from vitdecomp.models.preprocessing import preprocessing
from vitdecomp_alignment.clip.space import ClipSpace

SHOWN = 4  # pictures


def token_pages(context: Context, space: ClipSpace, texts: Sequence[str]) -> dict[str, Page]:
    """Describe every token of every layer of the CLIP; no page if its tokens say nothing by themselves.

    Args:
        context: with the pictures, the first of which are shown.
        space: of the CLIP.
        texts: the vocabulary.
    """
    preprocess = preprocessing(space.loaded)
    images = torch.stack([preprocess(picture) for picture in context.world.pictures[:SHOWN]])
    try:
        latent = LatentTokens(space.loaded).fit(images[:1])
    except SpecError:
        return {}
    batch = LatentBatch(context.world.names[:SHOWN], list(images), latent.describe(images, texts, space))
    title = f"Tokens of {space.spec} in words"
    page = LatentPage(title, latent.layers_, latent.tokens_, [batch], [f"The most similar of {len(texts):,} texts."])
    return {"latent.html": Page(title, partial(write_latent_page, page))}
