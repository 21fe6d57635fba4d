"""The models that the support table tries: the smallest member of every family of every library."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vitdecomp import LoadedModel, load_model
from vitdecomp.models.adapter import adapters

TESTS = Path(__file__).parents[1] / "tests"
WIDE = (3, 224, 224)  # where nothing tells the size of images
SHRUNK: Mapping[str, Mapping[str, Any]] = {  # families of timm whose smallest member is too large
    "deepseek_vit": {"depth": 2},
    "gemma4_vit": {"depth": 2},
    "qwen3_vit": {"depth": 4},
}
SMALLER: Mapping[str, tuple[int, ...]] = {  # images of families whose own take too long or too much memory
    "convmixer": (3, 56, 56),
    "hieradet_sam2": (3, 224, 224),
    "inception_resnet_v2": (3, 96, 96),
    "nasnet": (3, 96, 96),
    "pnasnet": (3, 96, 96),
}


@dataclass(frozen=True)
class Family:
    """A family of models.

    Attributes:
        library: its name. name: of the family in the library.
        members: names in the library, of which the smallest is tried.
    """

    library: str
    name: str
    members: tuple[str, ...]

    @property
    def key(self) -> str:
        """Return what names it in the table."""
        return f"{self.library}/{self.name}"


@dataclass(frozen=True)
class Candidate:
    """A model with random weights: what was loaded, its spec, the shape of an image, and what was made smaller."""

    loaded: LoadedModel
    spec: str
    shape: tuple[int, ...]
    shrunk: bool = False


def families(library: str) -> list[Family]:
    """List the families of a library.

    Raises:
        ValueError: there is no such library.
    """
    if library not in LIBRARIES:
        raise ValueError(f"no library {library!r}; there are: {', '.join(LIBRARIES)}")
    return [Family(library, name, tuple(members)) for name, members in LIBRARIES[library][0]()]


def build(family: Family) -> Candidate:
    """Make the smallest member of a family."""
    return LIBRARIES[family.library][1](family)


def smallest(members: Iterable[str], make: Callable[[str], nn.Module]) -> str:
    """Find the member with the fewest parameters."""

    def size(name: str) -> int:
        try:
            with torch.device("meta"):
                return sum(p.numel() for p in make(name).parameters())
        except Exception:  # a constructor that computes with numbers has to be run
            return sum(p.numel() for p in make(name).parameters())

    return min(members, key=size)


def _by_family(library: str, names: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    def family(name: str) -> str:
        return adapters()[library].family(name) or name

    for name, members in groupby(sorted(names, key=family), family):
        yield name, list(members)


def _timm_families() -> Iterator[tuple[str, list[str]]]:
    import timm

    yield from _by_family("timm", [name for name in timm.list_models() if not name.startswith("test_")])


def _of_timm(family: Family) -> Candidate:
    import timm

    options = SHRUNK.get(family.name, {})
    name = smallest(family.members, lambda one: timm.create_model(one, **options))
    loaded = load_model(f"timm:{name}", pretrained=False, **options)
    shape = SMALLER.get(family.name, tuple(loaded.input_size or WIDE))
    return Candidate(loaded, loaded.spec, shape, bool(options) or family.name in SMALLER)


def _open_clip_families() -> Iterator[tuple[str, list[str]]]:
    import open_clip

    yield from _by_family("open_clip", open_clip.list_models())


def _of_open_clip(family: Family) -> Candidate:
    import open_clip

    def tower(name: str) -> nn.Module:
        config = open_clip.get_model_config(name)
        module: nn.Module = open_clip.model._build_vision_tower(config["embed_dim"], config["vision_cfg"])
        return module

    without_hub = [m for m in family.members if "hf_model_name" not in open_clip.get_model_config(m)["text_cfg"]]
    name = smallest(without_hub or family.members, tower)
    loaded = load_model(f"open_clip:{name}", pretrained=False)
    return Candidate(loaded, loaded.spec, tuple(loaded.input_size or WIDE))


def _tests() -> None:
    if str(TESTS) not in sys.path:
        sys.path.insert(0, str(TESTS))


def _transformers_families() -> Iterator[tuple[str, list[str]]]:
    _tests()
    from vision_zoo import image_models

    for name in image_models():
        yield name, [name]


def _of_transformers(family: Family) -> Candidate:
    _tests()
    from vision_zoo import made

    loaded = load_model(made(family.name))
    return Candidate(loaded, f"hf:{family.name}", tuple(loaded.input_size or (3, 64, 64)), shrunk=True)


def _torchvision_families() -> Iterator[tuple[str, list[str]]]:
    from torchvision import models

    yield from _by_family("torchvision", models.list_models(module=models))


def _of_torchvision(family: Family) -> Candidate:
    from torchvision import models

    name = smallest(family.members, lambda one: models.get_model(one, weights=None))
    loaded = load_model(f"torchvision:{name}", pretrained=False)
    return Candidate(loaded, loaded.spec, tuple(loaded.input_size or WIDE))


LIBRARIES: Mapping[str, tuple[Callable[[], Iterator[tuple[str, list[str]]]], Callable[[Family], Candidate]]] = {
    "timm": (_timm_families, _of_timm),
    "open_clip": (_open_clip_families, _of_open_clip),
    "transformers": (_transformers_families, _of_transformers),
    "torchvision": (_torchvision_families, _of_torchvision),
}
