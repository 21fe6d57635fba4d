"""ImageNet's classes: their WordNet ids, and words for them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

WORDNET_ID = re.compile(r"n\d{8}")


def words(class_id: str) -> str | None:
    """Return words for a WordNet id; `None` for what is no id of ImageNet-1k or ImageNet-22k.

    Those of ImageNet-1k are open_clip's, which were chosen to be told apart by CLIP (Radford et al., arXiv 2103.00020);
    the others are the first of WordNet's names.
    """
    if not WORDNET_ID.fullmatch(class_id):
        return None
    return _known("imagenet-1k").get(class_id) or _known("imagenet-22k").get(class_id)


def ids_of(names: Sequence[str]) -> tuple[str, ...]:
    """Return the WordNet ids of the classes of ImageNet-1k, if these are their names in order; else none.

    One in a hundred may be called otherwise: torchvision has "crane bird" and "maillot tank suit".
    """
    info = info_of("imagenet-1k")
    if len(names) != info.num_classes():
        return ()
    pairs = zip(names, info.label_descriptions(), strict=True)
    strange = sum(not _common(a, b) for a, b in pairs)
    return tuple(info.label_names()) if strange <= len(names) // 100 else ()


def info_of(subset: str) -> Any:
    """Return what timm knows of a subset of ImageNet: numbers, ids and names of its classes."""
    from timm.data import imagenet_info

    library: Any = imagenet_info  # untyped
    return library.ImageNetInfo(subset)


@cache
def _known(subset: str) -> Mapping[str, str]:
    from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES

    info = info_of(subset)
    first = [name.split(", ")[0] for name in info.label_descriptions()]
    chosen = IMAGENET_CLASSNAMES if subset == "imagenet-1k" else first
    return dict(zip(info.label_names(), chosen, strict=True))


def _common(a: str, b: str) -> bool:
    """Check whether two lists of names, such as `tench, Tinca tinca`, share one."""
    return not {*a.split(", ")}.isdisjoint(b.split(", "))
