"""Tokens in words, set out for a terminal and as plain values."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rich.console import Console

from vitdecomp._utils.console import make_table, print_table
from vitdecomp.component import Token
from vitdecomp.latent.page import token_labels
from vitdecomp_alignment.cli.latent.described import DescribedTokens
from vitdecomp_alignment.cli.latent.edit_by_words import EditByWords

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
    if found.edit is not None:
        show_edit(console, found, found.edit)
    if found.written is not None:
        console.print(f"wrote {found.written}")


def show_edit(console: Console, found: DescribedTokens, edit: EditByWords) -> None:
    """Print how many patches of each image are removed, and what its representation says before and after."""
    table = make_table("image", "removed", "before", "after", words={"image", "before", "after"})
    for name, outcome in zip(found.names, found.outcomes, strict=True):
        said = (f"{text} {cosine:.2f}" for text, cosine in (outcome.before[0], outcome.after[0]))
        table.add_row(name, str(len(outcome.tokens)), *said)
    console.print("", edit.sentence, sep="\n")
    print_table(console, table)


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
        "edit": None if found.edit is None else _edit(found, found.edit),
        "skipped": list(found.skipped),
        "written": None if found.written is None else str(found.written),
    }


def _edit(found: DescribedTokens, edit: EditByWords) -> dict[str, Any]:
    images = [
        {"name": name, "tokens": list(each.tokens), "before": list(each.before), "after": list(each.after)}
        for name, each in zip(found.names, found.outcomes, strict=True)
    ]
    return {
        "action": edit.action,
        "texts": list(edit.texts),
        "read": edit.read,
        "layers": list(edit.layers),
        "images": images,
    }


def _token(number: int, token: Token) -> dict[str, Any]:
    grid = None if token.grid is None else list(token.grid)
    return {"token": number, "kind": token.kind, "row": token.row, "column": token.column, "grid": grid}
