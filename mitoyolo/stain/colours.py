"""A fixed fit as a table of all colours: one look-up a pixel, whatever the method.

Without a look at the tile, a pixel's new colour depends on its old one alone, and there are 2^24
colours. So a case or slide of many tiles maps each colour once; the bytes are the method's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from mitoyolo.images import RGB, one_value
from mitoyolo.stain.methods import find_method
from mitoyolo.stain.normaliser import LITTLE_TISSUE, Fitted
from mitoyolo.stain.tissue import is_enough, tissue_mask

PAYS_FROM = 3 << 24
"""Pixels from which a table saves time: about 200 tiles of 512 px."""

Cells = NDArray[np.uint32]
"""New R, G, B and, as the highest byte, whether the old colour is one of tissue."""

ApplyOrReason = Callable[[RGB], tuple[RGB, str | None]]


def quick(fitted: Fitted, pixels: int) -> ApplyOrReason:
    """``fitted.apply_or_reason``, or what does the same faster for so many pixels."""
    pays = pixels >= PAYS_FROM and find_method(fitted.method).tabulated
    return _latest(fitted).apply_or_reason if pays and has_table(fitted) else fitted.apply_or_reason


def has_table(fitted: Fitted) -> bool:
    """Whether the new colour of a pixel depends on its old colour alone."""
    return fitted.source is not None and find_method(fitted.method).fixed_map is not None


@dataclass(frozen=True, eq=False)
class Tabulated:
    """A fit that :func:`has_table`, and its table of 64 MB."""

    fitted: Fitted
    cells: Cells

    def apply_or_reason(self, rgb: RGB) -> tuple[RGB, str | None]:
        """As :meth:`Fitted.apply_or_reason`, with the same bytes."""
        cells = self.cells.take(numbers(rgb))
        bytes_ = cells.view(np.uint8).reshape(*rgb.shape[:2], 4)
        if not is_enough(cv2.countNonZero(cv2.extractChannel(bytes_, 3)), cells.size):
            return rgb, LITTLE_TISSUE
        method = find_method(self.fitted.method)
        if method.is_flat(rgb):
            return rgb, method.unmapped
        return np.asarray(cv2.cvtColor(bytes_, cv2.COLOR_RGBA2RGB), np.uint8), None


@lru_cache(maxsize=1)
def _latest(fitted: Fitted) -> Tabulated:
    """One table is kept: the tiles of a case come one after the other."""
    return Tabulated(fitted, colour_table(fitted))


def numbers(rgb: RGB) -> Cells:
    """The number R + 256 G + 65536 B of each pixel's colour, in the shape of the image."""
    return np.bitwise_and(one_value(rgb), 0xFFFFFF)


def colour_table(fitted: Fitted) -> Cells:
    """The cell of each of the 2^24 colours, by its number."""
    fixed_map = find_method(fitted.method).fixed_map
    assert fixed_map is not None, "has_table said so"
    cells = np.empty((256, 256, 256, 4), np.uint8)
    plane = np.empty((256, 256, 3), np.uint8)
    plane[..., 1], plane[..., 0] = np.indices((256, 256))
    for blue, cell in enumerate(cells):
        plane[..., 2] = blue
        cell[..., :3] = fixed_map(plane, fitted.source, fitted.target)
        cell[..., 3] = tissue_mask(plane)
    return cells.view("<u4").reshape(-1)
