"""`vitdecomp latent`: show every token of every layer in words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Option

from vitdecomp.cli.command import command
from vitdecomp.cli.options import CachedOptions, Model, ResultOptions, SingleModelOptions
from vitdecomp.errors import SpecError
from vitdecomp_alignment.cli.options import Clip, Maps, Pool, TextCount, Texts

if TYPE_CHECKING:
    from vitdecomp_alignment.cli.latent.described import LatentConfig

SHOWN = 16  # images by default


@dataclass(frozen=True, slots=True)
class TokenOptions:
    """Choose the tokens, and the texts that they are compared with."""

    images: Annotated[
        Path | None, Option(help="An image, a folder or another data set; default: the embedded world.")
    ] = None
    texts: Pool = None
    m: TextCount = 3
    layers: Annotated[str | None, Option(help="Numbers such as 0,4,8; from the end -1; default: all.")] = None
    tokens: Annotated[str | None, Option(help="Numbers such as 0,1,2; default: all.")] = None
    maps: Maps = None
    clip: Clip = None
    edit: Annotated[Literal["remove"] | None, Option(help="Remove the patches that --text names.")] = None
    text: Texts = ()
    at: Annotated[str | None, Option(help="Edit in front of these blocks, such as 0,1,2; default: 0.")] = None
    read: Annotated[int | None, Option(help="Layer in which tokens are read; default: the first of --at.")] = None

    def config(self, limit: int | None) -> LatentConfig:
        """Give them to the library."""
        from vitdecomp_alignment.cli.latent.described import LatentConfig
        from vitdecomp_alignment.cli.latent.edit_by_words import EditByWords

        edit = EditByWords.asked(self.edit, self.text, numbers("--at", self.at), self.read)
        layers, tokens = numbers("--layers", self.layers), numbers("--tokens", self.tokens)
        return LatentConfig(self.images, self.texts, self.m, layers, tokens, self.maps, self.clip, limit, edit)


@command
def latent(
    model: Model,
    *,
    tokens: TokenOptions,
    out: Annotated[Path | None, Option(help="Write a page to FILE.html.")] = None,
    loading: SingleModelOptions,
    reading: CachedOptions = CachedOptions(limit=SHOWN),
    result: ResultOptions,
) -> None:
    """Show what every token of every layer says by itself, in words."""
    from vitdecomp.latent.page import check_page_place
    from vitdecomp_alignment.cli.latent.described import describe_tokens
    from vitdecomp_alignment.cli.latent.show import latent_json, show_latent

    if out is not None:
        check_page_place(out)
    config = tokens.config(reading.limit)
    found = describe_tokens(
        loading.of(model), config, reading.folder, loading=reading.loading, stage=result.stage, out=out
    )
    result.show(latent_json(found), lambda console: show_latent(console, found))


def numbers(flag: str, text: str | None) -> tuple[int, ...] | None:
    """Read numbers with commas between them, each once.

    Raises:
        SpecError: they are no numbers.
    """
    if text is None:
        return None
    try:
        return tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise SpecError(f"{flag} takes numbers with commas between them, such as 0,4,8, not {text!r}") from None
