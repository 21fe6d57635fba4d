"""The model card that stands beside maps, as the Hugging Face hub shows it."""

from __future__ import annotations

import re
from typing import Any

from vitdecomp_alignment.aligners.maps_file import Header

LIBRARY = "vitdecomp"
TAG = "vitdecomp-maps-of:"  # begins the tag that names the model
HUB_MODEL = re.compile(
    r"(?:hf:([\w.-]+/[\w.-]+)|timm:([\w-]+\.[\w.-]+))"
)  # specs whose weights have a place on the hub


def model_tag(model: str) -> str:
    """Return the tag by which maps of a model are found."""
    return TAG + model


def base_model(model: str) -> str | None:
    """Return the repository on the hub that a model's weights are in, if its spec tells."""
    found = HUB_MODEL.fullmatch(model)
    return None if found is None else found[1] or f"timm/{found[2]}"


def card(header: Header, file: str) -> str:
    """Write the card of maps: metadata for the hub, and a page for people.

    Args:
        header: of the file.
        file: its name.
    """
    from huggingface_hub import ModelCardData

    model = None if header.origin is None else " ".join(header.origin.model.split())  # a line of its own would end YAML
    data = ModelCardData(
        library_name=LIBRARY,
        base_model=None if model is None else base_model(model),
        tags=[LIBRARY, *([] if model is None else [model_tag(model)])],
    )
    rows = [*_facts(header, file), *((f"metric: {name}", f"{value:.4g}") for name, value in header.metrics.items())]
    table = "\n".join(f"| {_cell(name)} | {_cell(value)} |" for name, value in rows)
    return f"---\n{data.to_yaml().strip()}\n---\n\n{PAGE.format(aligner=header.aligner, table=table)}"


PAGE = """# Maps of {aligner}

Linear maps, one for each component of a vision model, that take its contributions into the space of a CLIP. Made with
vitdecomp, which reads them:

```python
from vitdecomp_alignment import {aligner}

aligner = {aligner}.from_pretrained("PLACE")  # this folder, or hf:ORGANIZATION/NAME
```

| | |
|---|---|
{table}
"""


def _facts(header: Header, file: str) -> list[tuple[str, Any]]:
    of = [("model", header.origin), ("CLIP", header.target)]
    known = [(name, origin) for name, origin in of if origin is not None]
    return [
        ("file", file),
        *((name, f"{origin.model} ({origin.output})") for name, origin in known),
        *((f"weights of the {name}", origin.weights) for name, origin in known),
        ("components", len(header.components)),
        *((f"setting: {name}", value) for name, value in header.settings.items()),
    ]


def _cell(value: Any) -> str:
    """Write a value as text of a table's cell, whatever characters it has."""
    return re.sub(r"([\\`*_{}\[\]<>|])", r"\\\1", " ".join(str(value).split()))
