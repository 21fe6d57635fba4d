"""Coordinates of the pixels, waves and smooth noise, of operations that IEEE 754 defines to the last bit."""

from __future__ import annotations

from functools import cache
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8

from vitdecomp.scenes.dice import Dice
from vitdecomp.scenes.factors import SIDE

Plane: TypeAlias = Float32[np.ndarray, "64 64"]
Planes: TypeAlias = Float32[np.ndarray, "3 64 64"]
Mask: TypeAlias = Bool[np.ndarray, "64 64"]
Image: TypeAlias = UInt8[np.ndarray, "64 64 3"]
Colour: TypeAlias = tuple[float, float, float]


@cache
def columns() -> Float32[np.ndarray, "1 64"]:
    """Return the x of the pixels' centers."""
    return (np.arange(SIDE, dtype=np.float32) + np.float32(0.5)).reshape(1, SIDE)


@cache
def rows() -> Float32[np.ndarray, "64 1"]:
    """Return the y of the pixels' centers, downwards."""
    return columns().reshape(SIDE, 1)


def turned(t: float) -> tuple[float, float]:
    """Cosine and sine of the angle whose half has the tangent t, without a transcendental function."""
    return (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)


def along(cosine: float, sine: float, x: float = 0.0, y: float = 0.0) -> Plane:
    """Distance of every pixel from (x, y) along a direction, in pixels."""
    return (columns() - x) * cosine + (rows() - y) * sine


def ramp(value: Float32[np.ndarray, "..."]) -> Float32[np.ndarray, "..."]:
    """Clip a value to 0 .. 1."""
    result: Float32[np.ndarray, "..."] = np.minimum(np.maximum(value, np.float32(0)), np.float32(1))
    return result


def fraction(value: Float32[np.ndarray, "..."]) -> Float32[np.ndarray, "..."]:
    """Return what is above the next lower integer."""
    result: Float32[np.ndarray, "..."] = value - np.floor(value)
    return result


def wave(value: Float32[np.ndarray, "..."]) -> Float32[np.ndarray, "..."]:
    """Return the triangle wave of period 1, from -1 to 1."""
    return np.abs(fraction(value) - 0.5) * 4 - 1


@cache
def _steps(cells: int) -> tuple[Int64[np.ndarray, "64"], Float32[np.ndarray, "64"]]:
    """Lattice cell of every pixel, and how far (eased) it lies in the cell."""
    at = columns().reshape(SIDE) * (cells / SIDE)
    cell = np.minimum(np.floor(at).astype(np.int64), cells - 1)
    inside = at - cell.astype(np.float32)
    return cell, inside * inside * (3 - 2 * inside)


def smooth(dice: Dice, down: int, across: int) -> Plane:
    """Value noise between 0 and 1: a random lattice of down x across cells, upsampled."""
    lattice = dice.lattice(down + 1, across + 1)
    row, down_by = _steps(down)
    column, across_by = _steps(across)
    upper, lower = lattice[row], lattice[row + 1]
    lines = upper + (lower - upper) * down_by[:, None]
    left, right = lines[:, column], lines[:, column + 1]
    result: Plane = left + (right - left) * across_by
    return result


def cloudy(dice: Dice) -> Plane:
    """Three octaves of value noise, between 0 and 1."""
    return smooth(dice, 4, 4) * 0.55 + smooth(dice, 8, 8) * 0.3 + smooth(dice, 16, 16) * 0.15


def mix(low: Planes, high: Planes, share: Plane) -> Planes:
    """From one picture to another, by the share of the other."""
    result: Planes = low + (high - low) * share
    return result


def flat(colour: Colour) -> Float32[np.ndarray, "3 1 1"]:
    """Return a color (0 .. 1 for each channel) that broadcasts over an image."""
    return np.array(colour, dtype=np.float32).reshape(3, 1, 1)


def shifted(plane: Plane, dx: int, dy: int) -> Plane:
    """Move a plane right and down by at most a few pixels, with zeros where nothing came from."""
    moved = np.zeros_like(plane)
    moved[dy:, dx:] = plane[: SIDE - dy, : SIDE - dx]
    return moved
