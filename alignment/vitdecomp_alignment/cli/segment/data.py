"""The images with masks of a command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vitdecomp.datasets.masks import FORMATS, MaskedImages, find_format, masked_scenes, open_masked_images
from vitdecomp.errors import SpecError
from vitdecomp.scenes import SceneDataset

PROTOCOL = "imagenet-segmentation"
WORLD = 100  # images of the embedded world, where no others are given


@dataclass(frozen=True, slots=True)
class MaskConfig:
    """Say where the images with masks are, as the command line has it."""

    masks: Path | None
    images: Path | None
    kind: str | None
    split: str | None
    limit: int | None

    def opened(self) -> MaskedData:
        """Open them; no more than the limit, spread evenly over the set, which may be sorted by class.

        Raises:
            InputError, SpecError: as `open_masked_images` says.
        """
        if self.masks is None:
            for flag, given in (("--images", self.images), ("--format", self.kind), ("--split", self.split)):
                if given is not None:
                    raise SpecError(f"{flag} {given} is of the images of --masks: give that too")
            n = self.limit or WORLD
            return MaskedData(masked_scenes(SceneDataset(n, 0, "test")), "the embedded world", "scenes", PROTOCOL)
        kind = find_format(self.masks, self.kind)
        records = open_masked_images(self.masks, kind, images=self.images, split=self.split)
        if self.limit is not None and self.limit < len(records):
            step = len(records) // self.limit
            records = records[: step * self.limit : step]
        told = str(self.masks) if self.split is None else f"{self.masks}, split {self.split}"
        return MaskedData(records, told, kind, FORMATS[kind].protocol)


@dataclass(frozen=True, slots=True)
class MaskedData:
    """Images with masks.

    Attributes:
        records: all that are measured. told: where they are. kind: their format.
        protocol: by which they are measured, if no other is named.
    """

    records: MaskedImages
    told: str
    kind: str
    protocol: str

    @property
    def classes(self) -> tuple[str | None, ...]:
        """The classes of all masks, each once."""
        return tuple(dict.fromkeys(record.class_name for record in self.records))
