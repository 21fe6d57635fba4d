"""A Hugging Face data set as `save_to_disk` writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vitdecomp.datasets.image import Picture
from vitdecomp.errors import InputError
from vitdecomp.images.reading import read_file

MARKS = ("dataset_info.json", "dataset_dict.json")
LABELS = ("label", "labels", "class", "target")
PLAIN = (str, int, float, bool)


class HuggingFace:
    """A data set, or several splits of one, with a column of images; reading it needs the package `datasets`.

    Raises:
        InputError: the package is missing, the data set is damaged, or has no column of images.
    """

    def __init__(self, place: Path) -> None:
        self.root = place.absolute()
        found: list[tuple[Any, str, int]] = []
        pictures: list[Picture] = []
        for split, data in _splits(place).items():
            image = _image_column(data, place)
            raw = data.cast_column(image, _undecoded())
            found += [(raw, image, row) for row in range(len(raw))]
            pictures += _pictures(data.remove_columns(image), f"{split}/" if split else "")
        self.pictures, self._found = tuple(pictures), found

    @classmethod
    def recognises(cls, place: Path) -> bool:
        """Recognize a folder with the description of one."""
        return any((place / mark).is_file() for mark in MARKS)

    def read(self, index: int) -> bytes:
        """Read the encoded image of a row."""
        data, column, row = self._found[index]
        cell = data[row][column] or {}
        if cell.get("bytes") is not None:
            return bytes(cell["bytes"])
        if cell.get("path") is None:
            raise OSError(f"row {row} has no image")
        return read_file(Path(cell["path"]))


def _splits(place: Path) -> dict[str, Any]:
    """Load data sets by the names of their splits; the name is empty if there is but one without."""
    try:
        import datasets
    except ImportError as error:
        raise InputError(f"{place} is a Hugging Face data set: reading it needs `pip install datasets`") from error
    try:
        loaded: Any = datasets.load_from_disk(str(place))
    except Exception as error:  # of many kinds, arrow's among them
        raise InputError(f"cannot read the data set {place}: {' '.join(str(error).split())[:200]}") from error
    return dict(loaded) if isinstance(loaded, dict) else {"": loaded}


def _undecoded() -> Any:
    import datasets

    return datasets.Image(decode=False)


def _image_column(data: Any, place: Path) -> str:
    names = [name for name, kind in data.features.items() if type(kind).__name__ == "Image"]
    if not names:
        raise InputError(f"{place} has no column of images: its columns are {', '.join(data.column_names)}")
    return str(names[0])


def _pictures(data: Any, prefix: str) -> list[Picture]:
    """Describe the images by the other columns."""
    label = next((name for name in LABELS if name in data.column_names), None)
    names = getattr(data.features[label], "names", None) if label else None
    columns = {name: data[name] for name in data.column_names}
    pictures = []
    for row in range(len(data)):
        told = {name: column[row] for name, column in columns.items()}
        cell = told.pop(label) if label else None
        text = None if cell is None else str(names[cell] if names and isinstance(cell, int) and cell >= 0 else cell)
        groups = {name: str(value) for name, value in told.items() if isinstance(value, PLAIN)}
        pictures.append(Picture(f"{prefix}{row:08d}", text, groups))
    return pictures
