"""The embedded CLIP: its open_clip configuration, and a vocabulary of the words that scenes are described with."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

NAME = "scenes-clip"
WEIGHTS = Path(__file__).with_name("weights")  # of this and of the other models
HERE = files("vitdecomp_adapters.scenes")


def config() -> dict[str, Any]:
    """Return open_clip's configuration of the model, the path of the vocabulary included."""
    settings: dict[str, Any] = json.loads(HERE.joinpath(f"{NAME}.json").read_text(encoding="utf-8"))
    with as_file(HERE.joinpath("vocabulary.txt.gz")) as path:
        settings["text_cfg"]["tokenizer_kwargs"] = {"bpe_path": str(path)}
    return settings


@cache
def register() -> None:
    """Make `open_clip.create_model("scenes-clip")` and `open_clip.get_tokenizer("scenes-clip")` known.

    open_clip takes configurations as files only, and where the vocabulary lies is known on this machine alone.
    """
    import open_clip

    from vitdecomp_adapters.scenes import architectures

    assert architectures.default_cfgs  # importing the module makes the image tower known to timm
    with TemporaryDirectory() as folder:
        path = Path(folder, f"{NAME}.json")
        path.write_text(json.dumps(config()), encoding="utf-8")
        open_clip.add_model_config(path)
