"""A folder of image files."""

from __future__ import annotations

from pathlib import Path

from vitdecomp.datasets.image import Picture
from vitdecomp.images.image_list import list_images, spelled
from vitdecomp.images.reading import read_file


class Folder:
    """A folder, searched with the folders in it, or a single file.

    The folders below are classes if every picture is in one, as for torchvision's `ImageFolder`.

    Attributes:
        ignored: what was left out, by reason.

    Raises:
        InputError: there is no image.
    """

    def __init__(self, place: Path) -> None:
        found = list_images(place)
        self.ignored = found.ignored
        self.root = (place if place.is_dir() else place.parent).absolute()
        self._files = [file.absolute().relative_to(self.root) for file in found.files]
        classes = place.is_dir() and all(len(path.parts) > 1 for path in self._files)
        self.pictures = tuple(
            Picture(spelled(path.as_posix()), spelled(path.parts[0]) if classes else None) for path in self._files
        )

    @classmethod
    def recognises(cls, place: Path) -> bool:
        """Any place."""
        return place.exists()

    def read(self, index: int) -> bytes:
        """Read the file of an image."""
        return read_file(self.root / self._files[index])
