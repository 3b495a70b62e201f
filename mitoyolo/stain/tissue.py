"""What counts as tissue, once for the whole project: coloured enough and darker than glass.

The two limits were chosen on the seven Hamamatsu cases of MITOS-ATYPIA-14 (x40 frames) and on
the Aperio slide CMU-1-Small-Region, by looking at the masks of four pairs of limits. Glass there
has a saturation of 0 to 8 levels (up to 13 with JPEG noise) and a luma of 226 to 250; pale eosin
begins at about 20 levels. The limits follow the edge of the tissue on both scanners, keep pale
stroma, and leave out lumina, fat and the pen-free background.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from mitoyolo.images import RGB

Levels = NDArray[np.uint8]

MIN_SATURATION = 16
"""Least difference of the largest and the smallest of R, G and B, in grey levels.

The difference rather than its ratio to the largest, which is noise in black borders.
"""

MAX_LUMINANCE = 228
"""Greatest luma (ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B), in grey levels."""

MIN_TISSUE = 0.05
"""A tile with a smaller share of tissue is neither measured nor normalised."""

GLANCE = 8
"""Every so many rows are looked at first: where they alone settle a question, the rest is saved."""


def tissue_mask(rgb: RGB) -> NDArray[np.bool_]:
    """Which pixels are tissue.

    Parameters
    ----------
    rgb : uint8 array of shape (height, width, 3)

    Returns
    -------
    bool array of shape (height, width)
    """
    return _mask(rgb).view(np.bool_)


def tissue_fraction(rgb: RGB) -> float:
    """The share of pixels that are tissue, 0 to 1; 0 for an image without pixels."""
    return cv2.countNonZero(_mask(rgb)) / (rgb.shape[0] * rgb.shape[1]) if rgb.size else 0.0


def has_tissue(rgb: RGB) -> bool:
    """Whether at least :data:`MIN_TISSUE` of an image is tissue.

    >>> has_tissue(np.full((64, 64, 3), 255, np.uint8))
    False
    """
    pixels = rgb.shape[0] * rgb.shape[1]
    if not pixels:
        return False
    at_a_glance = cv2.countNonZero(_mask(glance(rgb)))
    return is_enough(at_a_glance, pixels) or is_enough(cv2.countNonZero(_mask(rgb)), pixels)


def is_enough(tissue: int, pixels: int) -> bool:
    """Whether so many pixels of tissue are at least :data:`MIN_TISSUE` of all."""
    return tissue / pixels >= MIN_TISSUE


def glance(image: Levels) -> Levels:
    """Every :data:`GLANCE`-th row of an image."""
    return np.ascontiguousarray(image[::GLANCE])


def is_flat(image: Levels, least: float, form: Callable[[Levels], Levels] | None = None) -> bool:
    """Whether a channel's standard deviation is under ``least`` levels.

    The variance of a whole is at least that of a part times the part's share, so a part that
    varies enough settles it.

    Parameters
    ----------
    image : uint8 array of shape (height, width, channels), not empty
    form : callable, optional
        Brings the pixels to the colour space whose channels are meant.
    """
    part = glance(image)
    if (_deviations(part, form) ** 2 * (len(part) / len(image)) > least**2).all():
        return False
    return bool((_deviations(image, form) < least).any())


def _deviations(image: Levels, form: Callable[[Levels], Levels] | None) -> NDArray[np.float64]:
    return np.asarray(cv2.meanStdDev(form(image) if form else image)[1])


def _mask(rgb: RGB) -> NDArray[np.uint8]:
    """1 where tissue is, else 0; OpenCV's own type, several times faster than bool arithmetic."""
    if not rgb.size:
        return np.zeros(rgb.shape[:2], np.uint8)
    red, green, blue = cv2.split(rgb)
    largest = cv2.max(cv2.max(red, green), blue)
    smallest = cv2.min(cv2.min(red, green), blue)
    coloured = cv2.threshold(
        cv2.subtract(largest, smallest), MIN_SATURATION - 1, 1, cv2.THRESH_BINARY
    )[1]
    luma = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    dark = cv2.threshold(luma, MAX_LUMINANCE, 1, cv2.THRESH_BINARY_INV)[1]
    return np.asarray(cv2.bitwise_and(coloured, dark), np.uint8)
