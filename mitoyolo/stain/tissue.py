"""What counts as tissue, once for the whole project: coloured enough and darker than glass.

The two limits were chosen on the seven Hamamatsu cases of MITOS-ATYPIA-14 (x40 frames) and on
the Aperio slide CMU-1-Small-Region, by looking at the masks of four pairs of limits. Glass there
has a saturation of 0 to 8 levels (up to 13 with JPEG noise) and a luma of 226 to 250; pale eosin
begins at about 20 levels. The limits follow the edge of the tissue on both scanners, keep pale
stroma, and leave out lumina, fat and the pen-free background.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mitoyolo.images import RGB

MIN_SATURATION = 16
"""Least difference of the largest and the smallest of R, G and B, in grey levels.

The difference rather than its ratio to the largest, which is noise in black borders.
"""

MAX_LUMINANCE = 228
"""Greatest luma (ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B), in grey levels."""


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
