"""The embedded world with masks of its main objects, drawn when they are asked for."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from vitdecomp.datasets.masks.masked_image import MaskedImage, MaskedImages, as_mask

if TYPE_CHECKING:
    from vitdecomp.scenes import SceneDataset

ROOT = Path("scenes")  # no folder: what is printed


def masked_scenes(data: SceneDataset) -> MaskedImages:
    """Give scenes as records: the class is the data set's target, the object what is seen of the main one."""

    def build(index: int) -> MaskedImage:
        drawn = cache(lambda: data.sample(index))
        target = int(data.labels["target"][index])
        return MaskedImage(
            id=f"{index:06d}",
            image_id=f"{index:06d}",
            opener=lambda: Image.fromarray(drawn().image),
            reader=lambda height, width: as_mask(drawn().mask),
            source=f"of scene {index}",
            class_name=data.classes[target],
            class_index=target,
        )

    return MaskedImages(ROOT, range(len(data)), build)
