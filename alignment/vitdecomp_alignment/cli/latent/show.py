"""Tokens in words, set out for a terminal and as plain values."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rich.console import Console

from vitdecomp._utils.console import make_table, print_table
from vitdecomp.component import Token
from vitdecomp.latent.page import token_labels
from vitdecomp_alignment.cli.latent.described import DescribedTokens

COMMON = 4  # texts of patches in a row of the table
LEGEND = (
    "layer k: from block k on every token attends to itself alone; the last layer is the model's own",
    "patches: their most common best texts, with the number of patches; --out FILE.html and --json tell of each",
)


def show_latent(console: Console, found: DescribedTokens) -> None:
    """Print the texts of tokens without a place, the most common ones of patches, and what was written."""
    labels, said = token_labels(found.tokens), found.descriptions
    alone = [number for number in said.tokens if found.tokens[number].kind != "patch"]
    columns = [labels[number] for number in alone]
    title = f"Tokens of {found.model} in words of {found.clip}: {len(said.texts):,} texts"
    table = make_table("image", "layer", *columns, "patches", words={"image", *columns, "patches"}, title=title)
    for image, name in enumerate(found.names):
        for layer in said.layers:
            best = {number: said.words(image, layer, number)[0] for number in said.tokens}
            singles = (f"{text} {cosine:.2f}" for text, cosine in (best[number] for number in alone))
            counts = Counter(best[number][0] for number in said.tokens if number not in alone)
            common = ", ".join(f"{text} ({count})" for text, count in counts.most_common(COMMON))
            table.add_row(name, str(layer), *singles, common)
    print_table(console, table)
    console.print("", *LEGEND, sep="\n")
    if found.written is not None:
        console.print(f"wrote {found.written}")


def latent_json(found: DescribedTokens) -> dict[str, Any]:
    """Give the texts of each token with their similarities as plain values, by image, layer and token."""
    said = found.descriptions
    words = [
        [
            [[[said.texts[i], s] for i, s in zip(*token, strict=True)] for token in zip(*layer, strict=True)]
            for layer in zip(*image, strict=True)
        ]
        for image in zip(said.indices.tolist(), said.similarities.tolist(), strict=True)
    ]
    return {
        "model": found.model,
        "clip": found.clip,
        "texts": len(said.texts),
        "blocks": list(found.blocks),
        "layers": list(said.layers),
        "tokens": [_token(number, found.tokens[number]) for number in said.tokens],
        "images": [{"name": name, "words": each} for name, each in zip(found.names, words, strict=True)],
        "skipped": list(found.skipped),
        "written": None if found.written is None else str(found.written),
    }


def _token(number: int, token: Token) -> dict[str, Any]:
    grid = None if token.grid is None else list(token.grid)
    return {"token": number, "kind": token.kind, "row": token.row, "column": token.column, "grid": grid}
