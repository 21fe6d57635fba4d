"""List the images below a folder, and what was left out."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vitdecomp.errors import InputError
from vitdecomp.images.formats import looks_like_image, suffixes

logger = logging.getLogger(__name__)

LINKS = 8  # linked folders within one another; more would multiply the images without end
NAMED = 3  # examples of what was left out
# Folders and files that systems and cameras put beside images, in lower case; names with a leading dot are hidden too.
SYSTEM = frozenset(
    (
        "#recycle",
        "#snapshot",
        "$recycle.bin",
        "@__thumb",
        "@eadir",
        "@recently-snapshot",
        "@recycle",
        "@tmp",
        "__macosx",
        "__pycache__",
        "desktop.ini",
        "ehthumbs.db",
        "found.000",
        "icon\r",
        "lost+found",
        "recycled",
        "recycler",
        "system volume information",
        "thumbs.db",
        "~snapshot",
    )
)
HIDDEN = "hidden or the system's own"
LOOP = "links to a folder that they are in"
BROKEN = "links to nothing"
CLOSED = "folders that cannot be read"
SPECIAL = "no regular files"
UNREAD = "images of a kind that is not read"
OTHER = "no images"  # the one reason that is not worth a word


@dataclass(frozen=True, slots=True)
class ImageList:
    """The images of a folder, or one file.

    Attributes:
        root: the folder. files: all images, by name.
        ignored: what was left out, by reason, relative to the root.
    """

    root: Path
    files: tuple[Path, ...]
    ignored: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def note(self) -> str:
        """What was left out that might have been wanted, in words; empty if there is nothing."""
        parts = [_counted(reason, names) for reason, names in self.ignored.items() if reason != OTHER]
        return "; ".join(parts)


def list_images(place: Path) -> ImageList:
    """List an image file, or all those in a folder and the folders in it, in the order of their names.

    Links to folders are followed, unless they lead back. What is hidden, or put there by a system, is left out; that is
    logged as a warning.

    Raises:
        InputError: there is no such place, or no image in it.
    """
    if not place.exists():
        raise InputError(f"there is no file or folder {place}")
    if place.is_file():
        return ImageList(place.parent, (place,))
    if not place.is_dir():
        raise InputError(f"{place} is neither a regular file nor a folder")
    walk = _Walk(place)
    found = ImageList(place, tuple(sorted(walk.files())), {k: tuple(sorted(v)) for k, v in walk.ignored.items()})
    left_out = f"; left out: {found.note}" if found.note else ""
    if not found.files:
        raise InputError(f"no images in {place}: looked for {', '.join(sorted(suffixes()))}{left_out}")
    if found.note:
        logger.warning("left out of %s: %s", place, found.note)
    return found


def is_hidden(name: str) -> bool:
    """Tell whether a file or folder is hidden, or put there by a system."""
    return name.startswith(".") or name.lower() in SYSTEM


def spelled(name: str) -> str:
    r"""Spell a file's name as text that any table can hold: bytes of it that are not UTF-8 as `\xNN`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


@dataclass(frozen=True, slots=True)
class _Folder:
    """A folder to look into; `inside`: device and inode of it and of those it is in; `links`: how many are links."""

    path: str
    inside: frozenset[tuple[int, int]]
    links: int


class _Walk:
    """One walk through a folder."""

    def __init__(self, root: Path) -> None:
        self.root, self.wanted = root, suffixes()
        self.ignored: dict[str, list[str]] = {}

    def files(self) -> Iterator[Path]:
        """Yield all images, in no order."""
        waiting = [_Folder(str(self.root), frozenset([_key(self.root)]), 0)]
        while waiting:
            folder = waiting.pop()
            try:
                with os.scandir(folder.path) as entries:
                    for entry in entries:
                        found = self._look(entry, folder)
                        if isinstance(found, _Folder):
                            waiting.append(found)
                        elif isinstance(found, Path):
                            yield found
                        else:
                            self._ignore(found, entry.path)
            except OSError:
                self._ignore(CLOSED, folder.path)

    def _look(self, entry: os.DirEntry[str], folder: _Folder) -> _Folder | Path | str:
        """Return a folder to look into, an image, or the reason why it is neither."""
        if is_hidden(entry.name):
            return HIDDEN
        try:
            if entry.is_dir():
                return self._inner(entry, folder)
            regular = entry.is_file()
        except OSError:  # a link to itself, among others
            return BROKEN
        if os.path.splitext(entry.name)[1].lower() not in self.wanted:  # noqa: PTH122 - a Path for each is slow
            return UNREAD if looks_like_image(entry.name) else OTHER
        if regular:
            return Path(entry.path)
        return BROKEN if entry.is_symlink() else SPECIAL

    def _inner(self, entry: os.DirEntry[str], folder: _Folder) -> _Folder | str:
        key, links = _key(Path(entry.path)), folder.links + entry.is_symlink()
        if key in folder.inside or links > LINKS:
            return LOOP
        return _Folder(entry.path, folder.inside | {key}, links)

    def _ignore(self, reason: str, path: str) -> None:
        self.ignored.setdefault(reason, []).append(os.path.relpath(path, self.root))


def _key(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _counted(reason: str, names: tuple[str, ...]) -> str:
    more = ", ..." if len(names) > NAMED else ""
    return f"{len(names):,} {reason} ({', '.join(names[:NAMED])}{more})"
