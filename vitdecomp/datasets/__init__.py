"""Data sets of pictures on disk: folders, tables, Hugging Face data sets, webdataset shards; pairs of pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vitdecomp._utils.lazy import lazily
from vitdecomp.datasets.folder import Folder
from vitdecomp.datasets.huggingface import HuggingFace
from vitdecomp.datasets.image import Picture, Pictures
from vitdecomp.datasets.listing import Listing
from vitdecomp.datasets.pairs import ImagePair, PairsDataset
from vitdecomp.datasets.webdataset import WebDataset
from vitdecomp.errors import InputError

if TYPE_CHECKING:
    from vitdecomp.datasets import grouped as grouped
    from vitdecomp.datasets import masks as masks
else:
    __getattr__, __dir__ = lazily(__name__, {}, rooms=("grouped", "masks"))

__all__ = ["KINDS", "ImagePair", "PairsDataset", "Picture", "Pictures", "open_pictures"]

KINDS: Mapping[str, type[Folder | HuggingFace | Listing | WebDataset]] = {
    "table": Listing,
    "hugging face": HuggingFace,
    "webdataset": WebDataset,
    "folder": Folder,  # takes what no other does
}


def open_pictures(place: Path | Pictures) -> Pictures:
    """Open the data set at a place, of whatever kind it is; one that is open already is returned as it is.

    Raises:
        InputError: there is nothing, nothing with pictures, or something that cannot be read.
    """
    if not isinstance(place, Path):
        return place
    if not place.exists():
        raise InputError(f"there is no file or folder {place}")
    return next(kind for kind in KINDS.values() if kind.recognises(place))(place)
