"""Cutting: where tiles lie on an image, and which tile sees which annotation."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

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


def starts(length: int, size: int, overlap: int) -> list[int]:
    """Where windows begin along one axis of ``length`` px."""
    if not 0 <= overlap < size:
        raise ValueError(f"overlap {overlap} must be from 0 to under the size {size}")
    last = max(length - size, 0)
    return [*range(0, last, size - overlap), last]
