"""Reinhard's colour transfer on OpenCV's 8-bit LAB, each channel by a table of 256 entries.

Source: E. Reinhard, M. Ashikhmin, B. Gooch, P. Shirley, "Color Transfer between Images", IEEE
Computer Graphics and Applications 21(5), 2001. The numbers are those of staintools'
``ReinhardColorNormalizer``, bit for bit: L in 0..100 (level / 2.55), a and b around zero
(level - 128), statistics over all pixels given, and the result cut, not rounded, to a level.

A channel's map depends on its level alone, and there are 256 levels: hence the tables.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from converters.errors import InputError
from mitoyolo.images import RGB
from mitoyolo.stain import tissue
from mitoyolo.stain.numbers import Triple, triple

Levels = NDArray[np.uint8]

MIN_DEVIATION = 1.0
"""Least standard deviation of each LAB channel, in 8-bit levels, that can be stretched."""

_EXACT = 1 << 24  # pixels that OpenCV's histograms, in single precision, count exactly
_PER_UNIT = (2.55, 1.0, 1.0)
_ZERO = (0, 128, 128)
_LEVEL = np.arange(256, dtype=np.float32)
# Single precision, as the reference has it: the last bit decides where a value is cut.
_UNITS = np.stack([_LEVEL / np.float32(2.55), _LEVEL - 128, _LEVEL - 128], axis=1)


@dataclass(frozen=True, slots=True)
class Stats:
    """Mean and standard deviation of L, a and b; L in 0..100, a and b in -128..127.

    Raises
    ------
    InputError
        A number is not finite, a mean is outside its range or a deviation is not positive.
    """

    mean: Triple
    std: Triple

    def __post_init__(self) -> None:
        for name, mean, std, low, high in zip(
            "Lab", self.mean, self.std, (0, -128, -128), (100, 127, 127), strict=True
        ):
            if not (math.isfinite(mean) and low <= mean <= high):
                raise InputError(f"mean of {name} is {mean}, expected {low} to {high}")
            if not 0 < std <= high - low:
                raise InputError(f"std of {name} is {std}, expected up to {high - low}, above 0")

    def to_dict(self) -> dict[str, Any]:
        """``{"mean": [L, a, b], "std": [L, a, b]}``."""
        return {"mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Stats:
        """Read what :meth:`to_dict` gives; other keys are ignored."""
        return cls(*(triple(value.get(key), key, "[L, a, b]") for key in ("mean", "std")))


DEFAULT = Stats((55.714, 43.064, -17.908), (15.023, 10.969, 5.776))
"""Tissue of breast cancer in H&E: the target where none is given.

Source: pooled over the tissue pixels (:mod:`mitoyolo.stain.tissue`) of the 123 frames with a
mitosis of cases H03 and H04 of MITOS-ATYPIA-14 (x40, Hamamatsu NanoZoomer 2.0-HT), the training
cases of our split, by ``mitoyolo normalize --fit``.
"""

DEFAULT_WHOLE = Stats((57.290, 41.355, -17.164), (16.344, 13.282, 6.621))
"""All pixels of the same frames, glass included: the default target of mode ``tile``."""

DEFAULT_SOURCE = "MITOS-ATYPIA-14 H03 and H04"


def to_lab(rgb: RGB) -> Levels:
    """RGB to OpenCV's 8-bit LAB, both of shape (height, width, 3)."""
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB), np.uint8)


def is_flat(rgb: RGB) -> bool:
    """Whether a LAB channel varies by less than one level: one colour, nothing to stretch."""
    return tissue.is_flat(rgb, MIN_DEVIATION, to_lab)


def stats_of_lab(lab: Levels) -> Stats:
    """Statistics over all pixels of one 8-bit LAB image, as staintools computes them.

    The same OpenCV call on the same single-precision channels: the order of its sums decides
    the last bit.
    """
    pairs = [
        cv2.meanStdDev(cv2.LUT(channel, np.ascontiguousarray(_UNITS[:, index])))
        for index, channel in enumerate(cv2.split(lab))
    ]
    mean = tuple(float(pair[0].item()) for pair in pairs)
    std = tuple(float(pair[1].item()) for pair in pairs)
    return Stats(cast(Triple, mean), cast(Triple, std))


def histogram(lab: Levels, mask: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
    """Counts of the 256 levels of L, a and b, (256, 3), in LAB of (height, width, 3).

    Of the pixels in ``mask``, (height, width), if there is one.
    """
    counts = np.zeros((256, 3), np.int64)
    rows = max(1, _EXACT // max(1, lab.shape[1]))
    for top in range(0, len(lab), rows):
        part = slice(top, top + rows)
        where = None if mask is None else np.ascontiguousarray(mask[part]).view(np.uint8)
        for channel in range(3):
            levels = cv2.calcHist([lab[part]], [channel], where, [256], [0, 256])
            counts[:, channel] += levels.ravel().astype(np.int64)
    return counts


def stats_of_histogram(counts: NDArray[np.int64]) -> Stats | None:
    """Statistics of pooled pixels from their level counts of shape (256, 3).

    In whole numbers up to the last division, so that no order of tiles and no machine changes
    them. None where a channel varies by less than one level, or where nothing was counted.
    """
    mean, std = [], []
    for channel in range(3):
        column = [int(count) for count in counts[:, channel]]
        number = sum(column)
        if not number:
            return None
        first = sum(count * level for level, count in enumerate(column))
        second = sum(count * level * level for level, count in enumerate(column))
        deviation = math.sqrt((number * second - first * first) / (number * number))
        if deviation < MIN_DEVIATION:
            return None
        mean.append((first / number - _ZERO[channel]) / _PER_UNIT[channel])
        std.append(deviation / _PER_UNIT[channel])
    return Stats(cast(Triple, tuple(mean)), cast(Triple, tuple(std)))


class Gauge:
    """Measures tiles together, one after the other, in memory that does not grow with them."""

    def __init__(self) -> None:
        self._tissue = np.zeros((256, 3), np.int64)
        self._whole = np.zeros((256, 3), np.int64)
        self._first: Levels | None = None
        self._images = 0

    def add(self, rgb: RGB) -> None:
        """Count a tile's pixels."""
        lab = to_lab(rgb)
        self._tissue += histogram(lab, tissue.tissue_mask(rgb))
        self._whole += histogram(lab)
        self._first = None if self._images else lab
        self._images += 1

    def tissue(self) -> Stats | None:
        """Statistics of the tissue; None where there was none or one colour only."""
        return stats_of_histogram(self._tissue)

    def whole(self) -> Stats | None:
        """Statistics of all pixels; those of a single tile are staintools' to the last bit."""
        if self._first is not None:
            return None if tissue.is_flat(self._first, MIN_DEVIATION) else stats_of_lab(self._first)
        return stats_of_histogram(self._whole)


@lru_cache(maxsize=256)
def tables(source: Stats, target: Stats) -> Levels:
    """The map from ``source`` to ``target``: for each level of L, a and b, the new level.

    Returns
    -------
    uint8 array of shape (256, 3), read-only
    """
    mapped = np.empty((256, 3), np.float64)
    for channel in range(3):
        ratio = target.std[channel] / source.std[channel]
        units = _UNITS[:, channel].astype(np.float64)
        mapped[:, channel] = (units - source.mean[channel]) * ratio + target.mean[channel]
    mapped = mapped * _PER_UNIT + _ZERO
    table = np.clip(mapped, 0, 255).astype(np.uint8)
    table.flags.writeable = False
    return table


def apply_to_lab(lab: Levels, table: Levels) -> RGB:
    """Look the levels of an 8-bit LAB image up in ``table`` of (256, 3); RGB."""
    mapped = cv2.LUT(lab, table.reshape(256, 1, 3))
    return np.asarray(cv2.cvtColor(mapped, cv2.COLOR_LAB2RGB), np.uint8)


def apply(rgb: RGB, source: Stats, target: Stats) -> RGB:
    """Bring an image from ``source`` to ``target``."""
    return apply_to_lab(to_lab(rgb), tables(source, target))


def map_tile(rgb: RGB, source: Stats | None, target: Stats) -> RGB | None:
    """A tile brought to ``target``, from ``source`` or, without it, from its own statistics.

    None for a flat tile: stretching noise of less than a level would paint it.
    """
    lab = to_lab(rgb)
    if tissue.is_flat(lab, MIN_DEVIATION):
        return None
    return apply_to_lab(lab, tables(source or stats_of_lab(lab), target))
