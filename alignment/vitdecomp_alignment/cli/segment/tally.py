"""What is measured of all maps so far, batch by batch, and the tables in the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from vitdecomp.heatmaps import Heatmaps
from vitdecomp.heatmaps.grid import upsampled
from vitdecomp.metrics import PROTOCOLS, Bootstrap, Segmentation
from vitdecomp.models.masked_batches import MaskedBatch
from vitdecomp_alignment.cli.segment.faithful import HIGHER_IS_BETTER
from vitdecomp_alignment.cli.segment.table import MeasureTable

FAITHFULNESS = "faithfulness"


class Tally:
    """Measures of maps.

    Args:
        protocols: by which the maps are compared with the masks.
        methods: whose maps these are.
    """

    def __init__(self, protocols: Sequence[str], methods: Sequence[str]) -> None:
        self.segmentations = {name: {method: Segmentation(name) for method in methods} for name in protocols}
        self.faithfulness: dict[str, dict[str, list[Tensor]]] = {method: {} for method in methods}
        self.images: list[str] = []

    def add(
        self, batch: MaskedBatch, maps: Mapping[str, Heatmaps], faithful: Mapping[str, Mapping[str, Tensor]]
    ) -> None:
        """Add a batch.

        Args:
            batch: its masks.
            maps: of each method.
            faithful: for each method and measure of faithfulness one number for each image.
        """
        images = [record.image_id for record in batch.records]
        classes = [record.class_name or "" for record in batch.records]
        self.images += images
        for method, each in maps.items():
            # In float64: pixels that are equally large stay so, whatever batch they are in.
            values = upsampled(each.grid[:, :1].detach().cpu().double(), each.size)[:, 0]
            for by_method in self.segmentations.values():
                by_method[method].add(values, batch.masks, classes=classes, images=images)
        for method, measures in faithful.items():
            for name, found in measures.items():
                self.faithfulness[method].setdefault(name, []).append(found.double().cpu())

    def tables(self, bootstrap: Bootstrap) -> tuple[MeasureTable, ...]:
        """Return a table for each protocol, and one of faithfulness if it was measured.

        Raises:
            InputError: no mask has an annotated pixel.
        """
        found = [self._segmentation(name, bootstrap) for name in self.segmentations]
        measured = next(iter(self.faithfulness.values()))
        if measured:
            estimates = {
                method: {name: bootstrap.mean(_array(parts), self.images) for name, parts in measures.items()}
                for method, measures in self.faithfulness.items()
            }
            better = {name: HIGHER_IS_BETTER[name] for name in measured}
            found.append(MeasureTable(FAITHFULNESS, "means over images", better, estimates))
        return tuple(found)

    def _segmentation(self, name: str, bootstrap: Bootstrap) -> MeasureTable:
        settings = bootstrap.replicates, bootstrap.seed, bootstrap.confidence
        results = {method: each.result(*settings) for method, each in self.segmentations[name].items()}
        estimates = {method: result.estimates() for method, result in results.items()}
        better = dict.fromkeys(next(iter(estimates.values())), True)
        return MeasureTable(name, PROTOCOLS[name].definition, better, estimates)


def _array(parts: Sequence[Tensor]) -> np.ndarray:
    return torch.cat(list(parts)).numpy()
