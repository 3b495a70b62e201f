"""Cutting: where tiles lie on an image, and which tile sees which annotation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

DEFAULT_OVERLAP = 64
"""px shared by neighbouring tiles: a mitosis of 16 µm at 0.25 µm/px fits in whole."""


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of whole pixels: origin, then size."""

    x: int
    y: int
    width: int
    height: int

    def holds(self, x: float, y: float, image_width: int, image_height: int) -> bool:
        """Whether a point is inside; the image's own right and lower edges belong to it."""
        right, bottom = self.x + self.width, self.y + self.height
        return (self.x <= x < right or x == right == image_width) and (
            self.y <= y < bottom or y == bottom == image_height
        )


def grid(width: int, height: int, size: int, overlap: int = 0) -> list[Window]:
    """Windows of ``size`` px that cover an image, row by row.

    Neighbours share ``overlap`` px; the last of a row or column is shifted back to the edge and
    shares more, so that nothing is padded. An image smaller than a window is one window of its
    own size on that axis.

    Parameters
    ----------
    width, height : int
        The image's size in pixels.
    size, overlap : int
        Of the windows, in pixels; ``0 <= overlap < size``.
    """
    return [
        Window(x, y, min(size, width), min(size, height))
        for y in starts(height, size, overlap)
        for x in starts(width, size, overlap)
    ]


def parts(width: int, height: int, columns: int, rows: int) -> list[Window]:
    """An image cut into ``columns`` x ``rows`` equal parts, row by row, without overlap.

    Where the size is no multiple, parts differ by a pixel; together they are the whole image.
    """
    xs = [round(i * width / columns) for i in range(columns + 1)]
    ys = [round(i * height / rows) for i in range(rows + 1)]
    return [
        Window(left, top, right - left, bottom - top)
        for top, bottom in pairwise(ys)
        for left, right in pairwise(xs)
        if right > left and bottom > top
    ]


def extent(windows: Sequence[Window]) -> tuple[int, int]:
    """Width and height of the smallest image that holds some windows."""
    return (
        max(each.x + each.width for each in windows),
        max(each.y + each.height for each in windows),
    )


def covered(windows: Sequence[Window]) -> int:
    """How many pixels lie in at least one of some windows.

    Examples
    --------
    >>> covered([Window(0, 0, 10, 10), Window(5, 0, 10, 10), Window(40, 40, 2, 2)])
    154
    """
    left, top, width, height = np.array(
        [(each.x, each.y, each.width, each.height) for each in windows], np.int64
    ).reshape(-1, 4).T  # fmt: skip
    order = np.argsort(left)
    left, top = left[order], top[order]
    right, bottom = left + width[order], top + height[order]
    total = 0
    for upper, lower in pairwise(np.unique([top, bottom])):  # a strip that no window ends within
        through = (top <= upper) & (bottom >= lower)
        reached = np.maximum.accumulate(np.append(0, right[through]))
        new = reached[1:] - np.maximum(left[through], reached[:-1])
        total += int(new.clip(0).sum()) * int(lower - upper)
    return total


def halves(window: Window) -> list[Window]:
    """A window cut across its longer side."""
    x, y, width, height = window.x, window.y, window.width, window.height
    if width >= height:
        half = width // 2
        return [Window(x, y, half, height), Window(x + half, y, width - half, height)]
    half = height // 2
    return [Window(x, y, width, half), Window(x, y + half, width, height - half)]


def starts(length: int, size: int, overlap: int) -> list[int]:
    """Where windows begin along one axis of ``length`` px."""
    if not 0 <= overlap < size:
        raise ValueError(f"overlap {overlap} must be from 0 to under the size {size}")
    last = max(length - size, 0)
    return [*range(0, last, size - overlap), last]
