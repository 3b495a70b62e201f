"""A slide seen small: as a picture, and where its tissue lies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from converters.errors import InputError
from converters.mpp import Mpp
from mitoyolo.images import RGB
from mitoyolo.slides.base import Slide
from mitoyolo.slides.scaled import Sized
from mitoyolo.stain.tissue import tissue_mask
from mitoyolo.tiles import Window, halves

TISSUE_MPP = 8.0
"""µm per pixel of a tissue map: a cell's width, so that fat and lumina show and grain does not."""

LARGEST_MAP = 6000
"""px a side of a tissue map."""

SPECK = 100.0**2
"""µm²: smaller pieces are dirt, smaller holes belong to the tissue."""

_BAND = 2**24
"""Pixels of a level that are read at a time."""

_PIECE = 64
"""px a side of an overview: a damaged place is followed down to such pieces."""

_FAILURES = 100
"""Failed reads after which damaged places are no longer followed: all of the slide is damaged."""


def overview(slide: Slide, max_side: int) -> RGB:
    """The whole slide, its longer side at most ``max_side`` px; damaged places are white.

    Returns
    -------
    uint8 array of shape (height, width, 3)
    """
    return _look(slide, max(1.0, max(slide.size) / max_side))[0]


@dataclass(frozen=True, slots=True)
class TissueMap:
    """Where a slide's tissue is.

    Attributes
    ----------
    mask : bool array of shape (height, width)
    step : (float, float)
        Level-0 pixels per pixel of the mask, across and down.
    """

    mask: NDArray[np.bool_]
    step: tuple[float, float]

    def area_mm2(self, mpp: Mpp) -> float:
        """The tissue's area at ``mpp`` µm per level-0 pixel, mm²."""
        pixel = self.step[0] * mpp[0] * self.step[1] * mpp[1]
        return float(np.count_nonzero(self.mask)) * pixel / 1e6

    def share(self, windows: NDArray[np.float64]) -> NDArray[np.float64]:
        """How much of each window is tissue, 0 to 1; pixels of the mask count by their part inside.

        Parameters
        ----------
        windows : array of shape (n, 4)
            Left, top, right, bottom in level-0 pixels; what lies outside the slide is no tissue.

        Returns
        -------
        array of shape (n,)
            0 for a window without area.
        """
        edges = np.asarray(windows, float).reshape(-1, 4) / (*self.step, *self.step)
        left, top, right, bottom = edges.T
        sums = np.asarray(cv2.integral(self.mask.view(np.uint8), sdepth=cv2.CV_64F), np.float64)
        inside = (
            _at(sums, right, bottom)
            - _at(sums, left, bottom)
            - _at(sums, right, top)
            + _at(sums, left, top)
        )
        area = (right - left) * (bottom - top)
        return np.asarray(np.divide(inside, area, out=np.zeros_like(area), where=area > 0))

    def touches(self, windows: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether there is any tissue in each of :meth:`share`'s windows, of shape (n,)."""
        return np.asarray(self.share(windows) > 1e-9)


def tissue_map(slide: Slide, mpp: Mpp) -> TissueMap:
    """Find a slide's tissue at about :data:`TISSUE_MPP`.

    Pieces and holes smaller than :data:`SPECK` are removed and filled, but for those at the
    slide's edge, whose size nobody knows. Damaged places count as tissue, so that whoever reads
    all tissue meets them.

    Parameters
    ----------
    mpp : (float, float)
        µm per pixel of level 0.
    """
    coarse = max(1.0, TISSUE_MPP / (mpp[0] * mpp[1]) ** 0.5, max(slide.size) / LARGEST_MAP)
    picture, damaged = _look(slide, coarse)
    mask = tissue_mask(picture) | damaged
    step = (slide.size[0] / mask.shape[1], slide.size[1] / mask.shape[0])
    least = SPECK / (step[0] * mpp[0] * step[1] * mpp[1])
    mask &= ~_small(mask, least)
    mask |= _small(~mask, least)
    return TissueMap(mask, step)


def _look(slide: Slide, coarse: float) -> tuple[RGB, NDArray[np.bool_]]:
    """The slide at ``coarse`` level-0 pixels a pixel, and which pixels could not be read."""
    width, height = (max(1, round(side / coarse)) for side in slide.size)
    small = Sized(slide, (width, height))
    picture = np.full((height, width, 3), 255, np.uint8)
    damaged = np.zeros((height, width), np.bool_)
    failures = 0
    waiting = list(_bands(slide, small))
    while waiting:
        window = waiting.pop()
        here = np.s_[window.y : window.y + window.height, window.x : window.x + window.width]
        try:
            picture[here] = small.read(window)
        except InputError:
            failures += 1
            if max(window.width, window.height) > _PIECE and failures < _FAILURES:
                waiting += halves(window)
            else:
                damaged[here] = True
    return picture, damaged


def _bands(slide: Slide, small: Sized) -> Iterator[Window]:
    """The picture in bands of so many rows that what is read for one stays small."""
    width, height = small.size
    across, down = slide.levels[small.level]
    rows = max(1, int(_BAND / across * height / down))
    for top, bottom in pairwise([*range(0, height, rows), height]):
        yield Window(0, top, width, bottom - top)


def _small(mask: NDArray[np.bool_], least: float) -> NDArray[np.bool_]:
    """The pieces of a mask under ``least`` pixels that do not touch its edge; what is outside the
    mask may be among them."""
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    left, top, width, height, area = boxes.T
    inner = (left > 0) & (top > 0)
    inner &= (left + width < mask.shape[1]) & (top + height < mask.shape[0])
    small = inner & (area < least)
    return np.asarray(small[labels])


def _at(
    sums: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float64]:
    """An integral image between its nodes, where it is bilinear, exactly."""
    x, y = np.clip(x, 0, sums.shape[1] - 1), np.clip(y, 0, sums.shape[0] - 1)
    column, row = (
        np.minimum(x.astype(int), sums.shape[1] - 2),
        np.minimum(y.astype(int), sums.shape[0] - 2),
    )
    dx, dy = x - column, y - row
    upper = sums[row, column] * (1 - dx) + sums[row, column + 1] * dx
    lower = sums[row + 1, column] * (1 - dx) + sums[row + 1, column + 1] * dx
    return np.asarray(upper * (1 - dy) + lower * dy)
