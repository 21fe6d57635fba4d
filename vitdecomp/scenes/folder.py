"""A data set on disk: a folder of pictures for each class, a table of labels, and masks on request."""

from __future__ import annotations

import csv
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from vitdecomp._utils.files import PARTIAL, check_directory, make_directory
from vitdecomp.errors import OutputError
from vitdecomp.scenes.factors import FACTORS

if TYPE_CHECKING:
    from vitdecomp.scenes.dataset import SceneDataset

TABLE, IMAGES, MASKS = "labels.csv", "images", "masks"
COLUMNS = ("path", "split", "target", "group", *FACTORS, "word", "caption")


def write(
    data: SceneDataset, folder: Path, progress: Callable[[int, int], object] | None = None, *, masks: bool = False
) -> None:
    """Write `folder`/CLASS/INDEX.png for every picture, and `labels.csv`: the whole of it or nothing.

    Args:
        data: what to write; in other formats, use `data.sample`.
        folder: must not exist, or be empty.
        progress: called with the number of pictures that are written and that there are.
        masks: write `folder`/images/CLASS/INDEX.png and `folder`/masks/CLASS/INDEX.png instead, white where the main
            object is seen, as `vitdecomp.datasets.masks` reads them.

    Raises:
        OutputError: the folder holds something, or cannot be written.
    """
    with whole(folder) as partial, (partial / TABLE).open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        for index in range(len(data)):
            table.writerow(_write_one(data, index, partial, masks=masks))
            if progress is not None:
                progress(index + 1, len(data))


def cached_scenes(cache: Path, n: int, *splits: str, subset: str = "plain", seed: int = 0) -> Path:
    """Keep n scenes of each split in a folder of a cache; draw them once, whole or not at all.

    Args:
        cache: where.
        n: scenes of a split.
        splits: such as `train` and `test`.
        subset: as for `SceneDataset`.
        seed: as for `SceneDataset`.

    Raises:
        OutputError: it cannot be written.
    """
    from vitdecomp.scenes.dataset import SceneDataset

    folder = cache / "-".join(["scenes", subset, *splits, str(n), *([f"seed{seed}"] if seed else [])])
    if not folder.is_dir():
        make_directory(cache)
        with tempfile.TemporaryDirectory(dir=cache) as place:
            for split in splits:
                SceneDataset(n, seed, split, subset).write(Path(place) / "whole" / split)
            (Path(place) / "whole").replace(folder)
    return folder


def _write_one(data: SceneDataset, index: int, folder: Path, *, masks: bool) -> list[str | int]:
    sample = data.sample(index)
    scene, target = sample.scene, data.classes[sample.labels["target"]]
    name = f"{target}/{index:06d}.png"
    path = f"{IMAGES}/{name}" if masks else name
    written = {path: sample.image, f"{MASKS}/{name}": sample.mask} if masks else {path: sample.image}
    for place, values in written.items():
        make_directory((folder / place).parent)
        Image.fromarray(values).save(folder / place, optimize=False)
    group = "" if scene.group is None else scene.group
    return [path, scene.split, target, group, *scene.values.values(), scene.word or "", scene.caption]


@contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """Write into a folder that takes the place of an absent or empty one only when everything is written.

    Raises:
        OutputError: the folder holds something, or cannot be written.
    """
    check_directory(folder)
    if folder.is_dir() and any(folder.iterdir()):
        raise OutputError(f"{folder} is not empty: give another folder")
    home = folder.absolute()
    partial = home.with_name(home.name + PARTIAL)
    if partial.exists():
        raise OutputError(f"{partial} exists already: remove it, or give another folder")
    make_directory(partial)
    try:
        yield partial
        if home.exists():
            home.rmdir()
        partial.replace(home)
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"cannot write {folder}: {error.strerror or error}") from error
    finally:
        if partial.exists():
            shutil.rmtree(partial)
