"""Images with masks of their objects, in the formats in which data sets come."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from vitdecomp._utils.registry import did_you_mean
from vitdecomp.datasets.masks import folder, gtsegs, imagenet_s, open_images, pascal_voc, pixel_imagenet
from vitdecomp.datasets.masks.masked_image import MaskedImage, MaskedImages
from vitdecomp.datasets.masks.scenes import masked_scenes
from vitdecomp.errors import InputError, SpecError

__all__ = ["FORMATS", "Format", "MaskedImage", "MaskedImages", "find_format", "masked_scenes", "open_masked_images"]


@dataclass(frozen=True, slots=True)
class Format:
    """How one kind of data set is known and read.

    Attributes:
        recognizes: whether a place holds one.
        read: reads it, from its place, a folder of images that lies elsewhere, and a split.
        layout: what it looks like, for messages.
        protocol: by which of `vitdecomp.metrics.PROTOCOLS` heatmaps are measured on it, if no other is named.
        images, split: whether these can be given.
    """

    recognizes: Callable[[Path], bool]
    read: Callable[[Path, Path | None, str | None], MaskedImages]
    layout: str
    protocol: str = "imagenet-segmentation"
    images: bool = True
    split: bool = False


FORMATS: Mapping[str, Format] = MappingProxyType(  # the first that recognizes a place reads it
    {
        "imagenet-segmentation": Format(gtsegs.recognizes, gtsegs.read, "gtsegs_ijcv.mat", images=False),
        "open-images": Format(open_images.recognizes, open_images.read, "*-point-labels.csv", "points"),
        "voc": Format(pascal_voc.recognizes, pascal_voc.read, "VOC2012/SegmentationClass", split=True),
        "imagenet-s": Format(
            imagenet_s.recognizes, imagenet_s.read, "ImageNetS919/validation-segmentation", split=True
        ),
        "pixel-imagenet": Format(pixel_imagenet.recognizes, pixel_imagenet.read, "n01440764/*.png", "foreground"),
        "folder": Format(folder.recognizes, folder.read, "images/*.jpg with masks/*.png"),
    }
)


def find_format(place: Path, kind: str | None = None) -> str:
    """Find out the format of a data set, a name in `FORMATS`.

    Args:
        place: its folder or file.
        kind: the format that the user named, if any.

    Raises:
        InputError: there is none, or of no known format.
        SpecError: an unknown format.
    """
    if not place.exists():
        raise InputError(f"there is no file or folder {place}")
    if kind is not None and kind not in FORMATS:
        raise SpecError(f"no format of masks {kind!r}{did_you_mean(kind, list(FORMATS))}")
    found = kind or next((name for name, form in FORMATS.items() if form.recognizes(place)), None)
    if found is None:
        layouts = "; ".join(f"{form.layout} ({name})" for name, form in FORMATS.items())
        raise InputError(f"{place} has no masks in a known format: {layouts}")
    return found


def open_masked_images(
    place: Path, kind: str | None = None, *, images: Path | None = None, split: str | None = None
) -> MaskedImages:
    """Open a data set of images with masks.

    Args:
        place: its folder or file.
        kind: the name of its format in `FORMATS`; by default found out.
        images: the folder of its images, if they lie elsewhere.
        split: which part, where there are several.

    Raises:
        InputError: there is none, of no known format, or not as its format wants it.
        SpecError: an unknown format or split, or a split of a format that has none.
    """
    found = find_format(place, kind)
    form = FORMATS[found]
    for noun, given, known in (("split", split, form.split), ("folder of images", images, form.images)):
        if given is not None and not known:
            raise SpecError(f"{place} is of the format {found}, which takes no {noun}: leave out {given}")
    return form.read(place, images, split)
