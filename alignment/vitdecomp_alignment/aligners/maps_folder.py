"""Maps in a folder or on the Hugging Face hub: the same file, with a model card beside it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from vitdecomp._utils.files import atomic
from vitdecomp._utils.hub import fetching
from vitdecomp.errors import InputError, SpecError
from vitdecomp_alignment.aligners import maps_file
from vitdecomp_alignment.aligners.card import LIBRARY, card, model_tag

MAPS, CARD = "maps.safetensors", "README.md"
HUB, SEARCH = "hf:", "hf:auto"
MOST = 256  # maps in one folder
SHOWN = 5  # names in a message
REMEDY = "Give a local file or folder, or fill the hub's cache where there is a network and set HF_HUB_OFFLINE=1"
logger = logging.getLogger(__name__)


def write_card(folder: Path) -> None:
    """Write the card of the maps in a folder; one that is there stays as it is.

    Raises:
        OutputError: it cannot be written.
    """
    if (folder / CARD).exists():
        return
    header = maps_file.FORMAT.read_header(folder / MAPS)
    with atomic(folder / CARD) as partial:
        partial.write_text(card(header, MAPS), encoding="utf-8")


def find_maps(place: Path | str, model: str | None = None) -> Path:
    """Find the file of maps that is meant.

    Args:
        place: a file; a folder with maps, or with folders of maps; `hf:ORGANIZATION/NAME`, with `@REVISION` if need be,
            for such a folder on the hub or in its cache; or `hf:auto`, which looks for maps of the model on the hub.
        model: its spec, by which one of several maps is chosen.

    Raises:
        InputError: there are no maps, or none of the model.
        SpecError: several maps may be meant, or no repository can have such a name.
        LoadError: the hub does not answer, and its cache does not have them.
    """
    told = str(place)
    folder = _fetched(_searched(model) if told == SEARCH else told) if told.startswith(HUB) else Path(place)
    if not folder.is_dir():
        return folder
    files = [folder / MAPS, *sorted(folder.glob(f"*/{MAPS}"))[:MOST]]
    files = [file for file in files if file.is_file()]
    if not files:
        raise InputError(f"there are no maps in {told}: a folder of maps has a file {MAPS}")
    return files[0] if len(files) == 1 else _chosen(files, told, model)


def _chosen(files: Sequence[Path], place: str, model: str | None) -> Path:
    """Choose by the model that each file claims to be for; who uses the maps compares its weights."""
    origins = {file: maps_file.FORMAT.read_header(file).origin for file in files}
    of = {file: "an unknown model" if origin is None else origin.model for file, origin in origins.items()}
    if model is None:
        raise SpecError(f"{place} holds maps of {_some(sorted(set(of.values())))}: say of which model")
    found = [file for file in files if of[file] == model]
    if not found:
        raise InputError(f"{place} holds no maps of {model}, but of {_some(sorted(set(of.values())))}")
    if len(found) > 1:
        raise SpecError(f"{place} holds several maps of {model}: give one of {_some([str(file) for file in found])}")
    return found[0]


def _fetched(place: str) -> Path:
    """Return the folder of a repository in the hub's cache; nothing but maps is fetched."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    name, _, revision = place.removeprefix(HUB).partition("@")
    with fetching(place, what="maps", remedy=REMEDY):
        try:
            return Path(snapshot_download(name, revision=revision or None, allow_patterns=[MAPS, f"*/{MAPS}"]))
        except HFValidationError as error:
            raise SpecError(f"no repository is called {name!r}: write {HUB}ORGANIZATION/NAME") from error


def _searched(model: str | None) -> str:
    """Return the one repository on the hub whose tags say that it has maps of a model."""
    from huggingface_hub import HfApi

    if model is None:
        raise SpecError(f"{SEARCH} looks for maps of a model: say of which")
    with fetching(model, what="list of maps", remedy=REMEDY, unreached="the hub cannot be reached"):
        found = [info.id for info in HfApi().list_models(filter=[LIBRARY, model_tag(model)], limit=SHOWN + 1)]
    if not found:
        raise InputError(f"the hub has no maps of {model}: make them with `vitdecomp align`")
    if len(found) > 1:
        raise SpecError(f"the hub has several maps of {model}: give one of {_some([HUB + name for name in found])}")
    logger.warning("taking the maps in %s%s, whose tags name %s", HUB, found[0], model)
    return HUB + found[0]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
