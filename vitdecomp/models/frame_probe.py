"""Probe: what a preprocessing does to images of one size, measured by test images."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64
from PIL import Image

from vitdecomp.errors import InputError
from vitdecomp.models.preprocessing import Preprocess, as_tensor

STRAIGHT = 0.02  # share of the image by which the positions of pixels may differ from a straight line
LEAST = 8  # pixels that an axis needs to be measured
EDGES = 12  # that locate an axis
LEVELS = 192.0, 64.0  # of their sides, so that no overshoot of a filter is cut off


class Probe:
    """Test images of one size, and what a preprocessing makes of them."""

    def __init__(self, preprocess: Preprocess, height: int, width: int) -> None:
        if min(height, width) < LEAST:
            raise InputError(f"an image of {width} x {height} pixels is too small: masks need {LEAST} each way")
        self.preprocess, self.shape = preprocess, (height, width)
        self.black = self._shown(np.zeros(self.shape, dtype=np.uint8))
        gain = self._shown(np.full(self.shape, 255, dtype=np.uint8)) - self.black
        self.gain, self.seen = gain, np.abs(gain) > 1e-6 * np.abs(gain).max()
        if not self.seen.any():
            raise self._refused("it makes the same of black and white images")

    def line(self, axis: int) -> tuple[float, float, int]:
        """Measure an axis, coarsely by a ramp, then by edges.

        Returns:
            Slope, start (position in the image = slope * position in the input + start, in pixels), size of the input.

        Raises:
            InputError: positions do not follow a rising line.
        """
        length = self.shape[axis]
        ramp = self._profile(255 * (np.arange(length) + 0.5) / length, axis)
        places = np.arange(len(ramp)) + 0.5
        inner = np.isfinite(ramp) & (ramp > 0.05) & (ramp < 0.95)
        if inner.sum() < LEAST:
            raise self._refused("too little of the image is seen")
        slope, start = np.polyfit(places[inner], length * ramp[inner], 1)
        if slope <= 0 or np.abs(slope * places[inner] + start - length * ramp[inner]).max() > STRAIGHT * length:
            raise self._refused("it is no resize and crop")
        slope, start = self._refined(axis, slope, start, len(ramp))
        return slope, start, len(ramp)

    def _refined(self, axis: int, slope: float, start: float, size: int) -> tuple[float, float]:
        """Fit a line to where edges between black and white are seen, which is exact to some hundredths of a pixel."""
        length = self.shape[axis]
        low, high = max(start, 0.0), min(start + slope * size, float(length))
        wide = 8 * max(slope, 1.0)  # pixels between edges, so that none blurs another
        count = min(EDGES, int((high - low) / wide) - 1)
        if count < 2:
            return slope, start
        edges = np.rint(np.linspace(low, high, count + 2)[1:-1]).astype(int)
        stripes = np.searchsorted(edges, np.arange(length), side="right") % 2
        bright, dark = LEVELS
        seen = (255 * self._profile(np.where(stripes, bright, dark), axis) - dark) / (bright - dark)
        places = _edges(seen, (edges - start) / slope)
        if not np.isfinite(places).all():
            return slope, start
        fitted = np.polyfit(places, edges, 1)
        return float(fitted[0]), float(fitted[1])

    def _profile(self, values: Float64[np.ndarray, " length"], axis: int) -> Float64[np.ndarray, " size"]:
        """Show values along an axis, and read them from the input, 0 .. 1; NaN where there is padding alone."""
        image = np.broadcast_to(np.expand_dims(np.rint(values).astype(np.uint8), 1 - axis), self.shape)
        found = np.where(self.seen, (self._shown(image) - self.black) / np.where(self.seen, self.gain, 1), np.nan)
        lines = np.moveaxis(found, axis, 0).reshape(found.shape[axis], -1)
        known = np.isfinite(lines)
        total = np.where(known, lines, 0).sum(axis=1)
        result: Float64[np.ndarray, " size"] = np.where(
            known.any(axis=1), total / np.maximum(known.sum(axis=1), 1), np.nan
        )
        return result

    def _shown(self, image: np.ndarray) -> Float64[np.ndarray, "h w"]:
        pixels = as_tensor(self.preprocess, Image.fromarray(np.ascontiguousarray(image)).convert("RGB"))
        return pixels.detach().cpu().double().mean(0).numpy()

    def _refused(self, reason: str) -> InputError:
        height, width = self.shape
        return InputError(
            f"the model's preprocessing of {width} x {height} images cannot be applied to masks: {reason}; "
            "give a LoadedModel whose preprocess resizes and crops"
        )


def _edges(seen: Float64[np.ndarray, " size"], near: Float64[np.ndarray, " edge"]) -> Float64[np.ndarray, " edge"]:
    """Locate edges, which go up and down by turns, by how much of the profile around each is bright.

    A symmetric filter moves no brightness across an edge, so that its width and the phase of the pixels do not matter.
    """
    around = np.rint((near[1:] + near[:-1]) / 2).astype(int)
    half = int((near[1] - near[0]) / 2)
    begins = [max(int(near[0]) - half, 0), *around]
    ends = [*around, min(int(near[-1]) + half + 1, len(seen))]
    found = []
    for k, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        bright = seen[begin:end].sum()
        found.append(begin + bright if k % 2 else end - bright)
    return np.array(found)
