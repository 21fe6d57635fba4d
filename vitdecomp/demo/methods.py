"""The same heatmaps by every method, on a page of their own."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from PIL import Image
from torch import Tensor

from vitdecomp.demo.subject import Subject
from vitdecomp.heatmaps import explain_each, explainers
from vitdecomp.heatmaps.explaining import refusals
from vitdecomp.heatmaps.sheet import HeatmapSheet, SheetBatch

LEFT_OUT = ("random",)  # noise is no picture of anything


def by_method(
    subject: Subject,
    pictures: Sequence[tuple[str, Image.Image]],
    directions: Float[Tensor, "n direction d"],
    labels: Sequence[str],
) -> HeatmapSheet:
    """Explain pictures by all methods that have a meaning for a model.

    Args:
        subject: the model, decomposed.
        pictures: names and images.
        directions: what is explained, for each of them.
        labels: of the directions.
    """
    images = subject.prepared.batch([picture for _, picture in pictures])
    known = [method for method in explainers() if method not in LEFT_OUT]
    refused = refusals(known, lambda method: explain_each(subject.dec, images[:1], directions[:1], [method]))
    able = [method for method in known if method not in refused]
    maps = explain_each(subject.dec, images, directions, able, gap=True, labels=labels)
    names = [name for name, _ in pictures]
    batch = SheetBatch(names, list(images.cpu()), maps)
    return HeatmapSheet(f"Heatmaps of {subject.name} by method", [batch], [*refused.values()])
