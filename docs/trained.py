"""Write what the embedded models reach into docs/scenes.md: `python docs/trained.py`.

The figures were measured when the models were trained and stand in the metadata of their weights.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from safetensors import safe_open
from vitdecomp_adapters.scenes.adapter import MODELS
from vitdecomp_adapters.scenes.architectures import WEIGHTS

SHIPPED = [name for name in MODELS if (WEIGHTS / f"{name}.safetensors").is_file()]
PAGE = Path(__file__).with_name("scenes.md")
BEGIN, END = "<!-- trained:begin -->", "<!-- trained:end -->"


def table() -> str:
    """Write a row for each figure, a column for each model."""
    facts = {}
    for name in SHIPPED:
        with safe_open(WEIGHTS / f"{name}.safetensors", "pt") as file:
            facts[name] = json.loads(file.metadata()["vitdecomp"])
    lines = [["", *(f"`scenes:{name}`" for name in facts)], ["---"] + ["---:"] * len(facts)]
    for figure in dict.fromkeys(figure for fact in facts.values() for figure in fact["figures"]):
        kind, factor = figure.split(".")
        values = [fact["figures"].get(figure) for fact in facts.values()]
        lines.append([f"{kind.replace('_', '-')}, {factor}", *("" if v is None else f"{v:.1%}" for v in values)])
    lines.append(["steps", *(str(fact["recipe"]["steps"]) for fact in facts.values())])
    lines.append(["minutes of one core", *(f"{fact['seconds'] * fact['threads'] / 60:.0f}" for fact in facts.values())])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def with_table(page: str) -> str:
    """Replace the table of a page by that of the weights as they are."""
    return re.sub(f"{BEGIN}.*?{END}", lambda _: f"{BEGIN}\n{table()}\n{END}", page, flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
