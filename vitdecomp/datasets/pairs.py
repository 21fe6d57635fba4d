"""Pairs of photographs for typographic attacks: a plain one, and its twin with a word on it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from vitdecomp._utils.limits import HEADER
from vitdecomp.errors import InputError
from vitdecomp.images.image_list import list_images, spelled
from vitdecomp.images.opening import open_image
from vitdecomp.images.reading import read_file

PLAIN, ATTACKED = "plain", "attacked"
LABEL, TEXT = "label=", "_text="  # as RTA-100 and PAINT name their photographs
ANNOTATIONS = ("annotations.json", "annotation.json")  # of Materzynska et al., beside a folder of images
OBJECT, WORD, IMAGES = "true object", "typographic attack label", "images"
LAYOUT = f"{PLAIN}/CLASS/NAME.jpg beside {ATTACKED}/CLASS/NAME.jpg"


@dataclass(frozen=True, slots=True)
class ImagePair:
    """A plain photograph and its attacked twin.

    Attributes:
        id: the name of the attacked one, without the ending.
        label: what is seen on both. word: what is written on the attacked one; `None` where nobody knows.
        plain, attacked: their files; attacked ones may share a plain one.
    """

    id: str
    label: str
    word: str | None
    plain: Path
    attacked: Path


class PairsDataset:
    """Pairs of a plain and an attacked photograph, in one of three layouts.

    - `plain/CLASS/NAME.jpg` beside `attacked/CLASS/NAME.jpg`: the same names, with any ending.
    - `attacked/label=CLASS_text=WORD.jpg`, as RTA-100 and PAINT name their photographs, with or without folders. These
      sets bring no plain photographs; put them in `plain/` under the same name, or one for the class: `CLASS.jpg`.
    - `annotations.json` beside `images/`, as Materzynska et al. have it: photographs without a word are plain, and one
      of them is the twin of all others of the object.

    Args:
        place: the folder.

    Attributes:
        root: the folder. pairs: in the order of their names.
        classes: the labels and the written words, sorted: what a zero-shot classifier has to choose from.

    Raises:
        InputError: no such layout, no images, one without a class or without its twin, or one class alone.

    References:
        Materzynska et al., "Disentangling visual and written concepts in CLIP", CVPR 2022; Ilharco et al., "Patching
        open-vocabulary models by interpolating weights" (PAINT), 2022; Azuma and Matsui, "Defense-Prefix for preventing
        typographic attacks on CLIP" (RTA-100), 2023.
    """

    def __init__(self, place: Path) -> None:
        if not place.is_dir():
            raise InputError(f"there is no folder {place} of pairs: it should have {LAYOUT}")
        annotations = next((place / name for name in ANNOTATIONS if (place / name).is_file()), None)
        self.root = place
        self.pairs = tuple(_from_folders(place) if annotations is None else _from_annotations(annotations))
        words = {pair.word for pair in self.pairs if pair.word is not None}
        self.classes = tuple(sorted({*(pair.label for pair in self.pairs), *words}))
        if len(self.classes) < 2:
            raise InputError(f"{place} has one class alone ({', '.join(self.classes)}): a classifier needs two")

    def __len__(self) -> int:
        """Count the pairs."""
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Image.Image, Image.Image]:
        """Open the plain photograph and the attacked one.

        Raises:
            InputError: one cannot be read.
        """
        pair = self.pairs[index]
        return open_image(pair.plain), open_image(pair.attacked)


def _from_folders(place: Path) -> Iterator[ImagePair]:
    """Pair the files of two folders by their names."""
    for side in (PLAIN, ATTACKED):
        if not (place / side).is_dir():
            raise InputError(f"there is no folder {place / side}: pairs need {LAYOUT}")
    plain, attacked = (_by_name(place / side) for side in (PLAIN, ATTACKED))
    used = set[str]()
    for name, file in attacked.items():
        label, word = _label_and_word(name, file)
        own = f"{LABEL}{label}"
        twin = next((each for each in (name, label, own, f"{own}{TEXT}") if each in plain), None)
        if twin is None:
            raise InputError(f"{file} has no plain twin: put it at {place / PLAIN / name}{file.suffix}")
        used.add(twin)
        yield ImagePair(spelled(name), label, word, plain[twin], file)
    alone = next((file for name, file in plain.items() if name not in used), None)
    if alone is not None:
        missing = place / ATTACKED / alone.relative_to(place / PLAIN)
        raise InputError(f"{alone} has no attacked twin: put it at {missing}, or remove the plain image")


def _by_name(folder: Path) -> dict[str, Path]:
    """Return the images of a folder by their names relative to it, without the ending."""
    found = dict[str, Path]()
    for file in list_images(folder).files:
        name = file.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            raise InputError(f"{file} and {found[name].name} have the same name without the ending: rename one")
        found[name] = file
    return found


def _label_and_word(name: str, file: Path) -> tuple[str, str | None]:
    """Read the class and the written word out of a name; the folder tells the class before the file does."""
    *folders, stem = name.split("/")
    told, _, word = stem.removeprefix(LABEL).partition(TEXT) if stem.startswith(LABEL) else ("", "", "")
    label = folders[0] if folders else told
    if not label:
        raise InputError(
            f"{file} has no class: put it in a folder {ATTACKED}/CLASS, or call it {LABEL}CLASS{TEXT}WORD{file.suffix}"
        )
    return spelled(label), spelled(word) or None


def _from_annotations(path: Path) -> Iterator[ImagePair]:
    """Pair the attacked photographs of each object with its plain one."""
    known = _annotations(path)
    files = {name: path.parent / IMAGES / name for name in known}
    missing = next((file for file in files.values() if not file.is_file()), None)
    if missing is not None:
        raise InputError(f"there is no image {missing}, which {path} lists: put it there, or take it out of the list")
    plain = {label: files[name] for name, (label, word) in reversed(known.items()) if not word}
    for name, (label, word) in sorted(known.items()):
        if not word:
            continue
        if label not in plain:
            raise InputError(f"{path}: no image of {label!r} without a word, so {name} has no plain twin; add one")
        yield ImagePair(Path(name).stem, label, word, plain[label], files[name])
    if not any(word for _, word in known.values()):
        raise InputError(f"{path}: no image has a {WORD!r}, so none is attacked")


def _annotations(path: Path) -> dict[str, tuple[str, str]]:
    """Read object and word of each image."""
    try:
        content: Any = json.loads(read_file(path, HEADER))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read {path}: {error}; it should be JSON") from error
    wanted = f'{{"NAME.jpg": {{"{OBJECT}": "cup", "{WORD}": "good"}}}}'
    if not isinstance(content, dict) or not content:
        raise InputError(f"{path} should be {wanted}")
    found = dict[str, tuple[str, str]]()
    for name, each in content.items():
        label, word = (each.get(OBJECT), each.get(WORD) or "") if isinstance(each, dict) else (None, "")
        if not isinstance(label, str) or not isinstance(word, str) or not label:
            raise InputError(f"{path}: {name} has no {OBJECT!r}; it should be {wanted}")
        found[name] = label, word
    return found
