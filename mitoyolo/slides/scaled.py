"""A slide seen at a µm/px of one's choice, whatever levels it has."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from PIL import Image

from converters.mpp import Mpp, differ, size_at
from mitoyolo.images import RGB
from mitoyolo.slides.base import Slide, check_inside, is_reduction
from mitoyolo.tiles import Window

_SLACK = 1.01
"""A level counts as fine enough up to this: sizes of levels are rounded."""

_CUBIC = Image.Resampling.BICUBIC

_SUPPORT = 2
"""px that a bicubic filter reaches to each side (of the coarser of the two grids)."""


class Sized:
    """A slide resampled to a width and height, from the coarsest level that is fine enough.

    A window's pixels do not depend on where the window lies: overlapping windows agree within a
    grey level.

    Attributes
    ----------
    slide : Slide
    size : (int, int)
        Width and height in grid pixels.
    scale : (float, float)
        Level-0 pixels per grid pixel, across and down: level 0 = grid x scale.
    level : int
        The level that is read.
    """

    def __init__(self, slide: Slide, size: tuple[int, int]) -> None:
        self.slide, self.size = slide, size
        self.scale = (slide.size[0] / size[0], slide.size[1] / size[1])
        steps = {0: (1.0, 1.0)} | {
            i: _steps(slide.size, level)
            for i, level in enumerate(slide.levels)
            if is_reduction(level, slide.size)
        }
        self.level = max(
            (i for i, step in steps.items() if _fine_enough(step, self.scale)),
            key=lambda i: steps[i],
            default=0,
        )
        step = steps[self.level]
        self._ratio = (self.scale[0] / step[0], self.scale[1] / step[1])  # level px a grid px

    def read(self, window: Window) -> RGB:
        """The pixels of a window in grid pixels, of shape (window.height, window.width, 3).

        Raises
        ------
        InputError
            Pixels that the window needs are damaged; the place is named in the level's pixels.
        ValueError
            The window is not inside ``size``.
        """
        check_inside(window, self.size)
        (width, height), ratio = self.slide.levels[self.level], self._ratio
        x = _span(window.x, window.width, ratio[0], width, self.size[0])
        y = _span(window.y, window.height, ratio[1], height, self.size[1])
        pixels = self.slide.read(self.level, Window(x.first, y.first, x.length, y.length))
        if self._ratio == (1, 1):
            return pixels
        if x.missing or y.missing:
            pixels = np.pad(pixels, ((0, y.missing), (0, x.missing), (0, 0)), "edge")
        # each axis by itself: left to choose, Pillow takes first what is less work, which depends
        # on the window, and it cuts overshoot off in between
        across, down = (x.low, 0, x.high, len(pixels)), (0, y.low, window.width, y.high)
        rows = Image.fromarray(pixels).resize((window.width, len(pixels)), _CUBIC, box=across)
        return np.asarray(rows.resize((window.width, window.height), _CUBIC, box=down))


class Scaled(Sized):
    """A slide at a µm/px.

    Parameters
    ----------
    slide : Slide
    mpp : (float, float) or None
        µm per pixel of level 0.
    at : (float, float) or None
        µm per pixel wanted. None, or within 5 % of ``mpp``: level 0 as it is.
    """

    def __init__(self, slide: Slide, mpp: Mpp | None, at: Mpp | None) -> None:
        super().__init__(slide, grid_size(slide.size, mpp, at))


def grid_size(size: tuple[int, int], mpp: Mpp | None, at: Mpp | None) -> tuple[int, int]:
    """Width and height at ``at`` µm/px of what has ``size`` at ``mpp``; alike within 5 %: as is."""
    if mpp is None or at is None or not differ(at, mpp):
        return size
    return size_at(size, mpp, at)


def _steps(whole: tuple[int, int], level: tuple[int, int]) -> tuple[float, float]:
    """Level-0 pixels per pixel of a level.

    Scanners divide by a whole number and drop or fill what does not divide: where the sizes allow
    it, that number is meant, not the quotient of the sizes.
    """
    step = round(whole[0] / level[0])
    if all(w // step <= part <= -(-w // step) for w, part in zip(whole, level, strict=True)):
        return (float(step), float(step))
    return (whole[0] / level[0], whole[1] / level[1])


def _fine_enough(step: tuple[float, float], scale: tuple[float, float]) -> bool:
    return all(a <= b * _SLACK for a, b in zip(step, scale, strict=True))


class _Span(NamedTuple):
    """What is read along one axis for a window, in pixels of the level.

    Attributes
    ----------
    first, length : int
        Where it starts, and how much.
    missing : int
        What a level lacks whose last pixels did not divide, 0 or 1.
    low, high : float
        The window's edges, from ``first``.
    """

    first: int
    length: int
    missing: int
    low: float
    high: float


def _span(start: int, length: int, ratio: float, size: int, grid: int) -> _Span:
    if ratio == 1:
        return _Span(start, length, 0, 0.0, float(length))
    low, high = start * ratio, (start + length) * ratio
    reach = math.ceil(_SUPPORT * max(1.0, ratio)) + 1
    first = max(math.floor(low) - reach, 0)
    last = min(math.ceil(high) + reach, max(size, math.ceil(grid * ratio - 1e-6)))
    end = min(last, size)
    return _Span(first, end - first, last - end, low - first, high - first)
