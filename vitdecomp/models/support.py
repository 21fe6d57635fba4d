"""The support table: what is known of the smallest member of every family of the model libraries."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_name("support.json")


def read_table(file: Path = TABLE) -> dict[str, dict[str, Any]]:
    """Read the rows of the table by `library/family`."""
    rows: dict[str, dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
    return rows


def status(row: Mapping[str, Any] | None) -> str:
    """Say what is known of a family in a few words."""
    if row is None:
        return "not measured"
    if "error" not in row:
        return f"refused: {row.get('refused') or row['failed']}"
    reached = row["blocks"] - row["missing"]
    return f"exact, {'all' if not row['missing'] else f'{reached} of'} {row['blocks']} blocks"
