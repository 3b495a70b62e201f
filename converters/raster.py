"""Shapes as whole pixels: a pixel belongs to a shape if its centre lies in it.

A shape is first cut into runs, one or more a column; that needs no picture of the frame, however
large it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from converters.errors import InputError
from converters.geometry import Box
from converters.rings import box_corners
from converters.shapes import Ellipse, Pixels, Polygon, Ring, Shape

Ints = NDArray[np.int64]

_MOST_COLUMNS = 1_000_000  # no image is wider
_AT_ONCE = 4_000_000  # crossings of edges and columns that are held at a time


def pixels_of(shape: Shape | Box, width: int, height: int) -> Ints:
    """The pixels of a shape, or of a box, within an image.

    Parameters
    ----------
    shape : Shape or (left, top, right, bottom)
        In px.
    width, height : int
        The image's size in px.

    Returns
    -------
    array of shape (n, 2)
        Column and row of each pixel (i, j) whose centre (i + 0.5, j + 0.5) lies in the shape,
        column by column, each once.

    Raises
    ------
    InputError
        The shape is wider than any image.
    """
    columns, first, end = runs_of(shape, width, height).T
    lengths = end - first
    starts = np.repeat(first - (np.cumsum(lengths) - lengths), lengths)
    rows = starts + np.arange(len(starts))
    return np.stack([np.repeat(columns, lengths), rows], axis=1)


def runs_of(shape: Shape | Box, width: int, height: int) -> Ints:
    """As :func:`pixels_of`, in runs down the columns.

    A centre on a polygon's or box's left or upper side is in, on its right or lower side out, so
    that neighbours share no pixel; on an ellipse's outline it is in.

    Returns
    -------
    array of shape (n, 3)
        Column, first row, and the row after the last; sorted, and no two of them touch.
    """
    if isinstance(shape, Ellipse):
        return _ellipse(shape, width, height)
    if isinstance(shape, Pixels):
        return _whole(shape, width, height)
    rings = shape if isinstance(shape, Polygon) else Polygon((box_corners(shape),))
    return _polygon(rings, width, height)


def _columns(left: float, right: float, width: int) -> tuple[int, int]:
    """The columns with centres in [left, right), as first and end."""
    first, end = max(math.ceil(left - 0.5), 0), min(math.ceil(right - 0.5), width)
    if end - first > _MOST_COLUMNS:
        raise InputError(f"a shape of {end - first} columns of pixels cannot be drawn")
    return first, max(end, first)


def _ellipse(shape: Ellipse, width: int, height: int) -> Ints:
    """Each column's chord: by the ellipse's second moments, without a division by its axes."""
    cos, sin = math.cos(shape.rotation), math.sin(shape.rotation)
    a, b = shape.width / 2, shape.height / 2
    xx, xy = (a * cos) ** 2 + (b * sin) ** 2, (a * a - b * b) * sin * cos
    if not xx:
        return np.empty((0, 3), np.int64)
    columns = np.arange(*_columns(shape.x - math.sqrt(xx), shape.x + math.sqrt(xx) + 1, width))
    dx = columns + 0.5 - shape.x
    under = xx - dx * dx
    columns, dx, under = columns[under >= 0], dx[under >= 0], under[under >= 0]
    middle, half = shape.y + dx * (xy / xx), np.sqrt(under) * (a * b / xx)
    first = np.clip(np.ceil(middle - half - 0.5), 0, height).astype(np.int64)
    end = np.clip(np.floor(middle + half - 0.5) + 1, 0, height).astype(np.int64)
    return np.stack([columns, first, end], axis=1)[end > first]


def _whole(shape: Pixels, width: int, height: int) -> Ints:
    indices = np.array(sorted(shape.indices), np.int64).reshape(-1, 2)
    indices = indices[((indices >= 0) & (indices < (width, height))).all(axis=1)]
    columns, rows = indices.T
    starts = np.ones(len(rows), bool)
    starts[1:] = (columns[1:] != columns[:-1]) | (rows[1:] != rows[:-1] + 1)
    ends = np.append(starts[1:], True)[: len(rows)]
    return np.stack([columns[starts], rows[starts], rows[ends] + 1], axis=1)


def _polygon(shape: Polygon, width: int, height: int) -> Ints:
    """Where the number of rings around is above 0 and that of holes is 0; each ring by itself is
    even-odd."""
    left, _, right, _ = shape.box
    first, end = _columns(left, right, width)
    edges = sum(map(len, (*shape.rings, *shape.holes)))
    step = max(_AT_ONCE // max(edges, 1), 1)
    parts = [
        _strip(shape, start, min(start + step, end), height) for start in range(first, end, step)
    ]
    return np.concatenate([np.empty((0, 3), np.int64), *parts])


def _strip(shape: Polygon, first: int, end: int, height: int) -> Ints:
    """The runs in columns ``first`` to ``end``."""
    keys, rings, holes = [], [], []
    for ring, hole in _each(shape):
        crossed = _crossings(ring, first, end, height)  # two by two: enters, leaves
        turns = np.tile(np.array([1, -1]), len(crossed) // 2)
        keys.append(crossed)
        rings.append(np.zeros_like(turns) if hole else turns)
        holes.append(turns if hole else np.zeros_like(turns))
    at = np.concatenate(keys)
    order = np.argsort(at, kind="stable")
    at = at[order]
    inside = (np.cumsum(np.concatenate(rings)[order]) > 0) & (
        np.cumsum(np.concatenate(holes)[order]) == 0
    )
    last = np.append(at[1:] != at[:-1], True)[: len(at)]  # what holds after all turns at a place
    at, inside = at[last], inside[last]
    before = np.append(False, inside[:-1])[: len(inside)]
    start, stop = at[inside & ~before], at[before & ~inside]
    columns, rows = np.divmod(start, height + 1)
    return np.stack([columns + first, rows, stop % (height + 1)], axis=1)


def _each(shape: Polygon) -> Iterable[tuple[Ring, bool]]:
    yield from ((ring, False) for ring in shape.rings)
    yield from ((ring, True) for ring in shape.holes)


def _crossings(ring: Ring, first: int, end: int, height: int) -> Ints:
    """Where the columns' centre lines cross a ring, sorted, as ``column·(height + 1) + row``:
    columns from ``first``; the row is the first one whose centre lies below the crossing."""
    a = np.array(ring, float)
    b = np.roll(a, -1, axis=0)
    low, high = np.minimum(a[:, 0], b[:, 0]), np.maximum(a[:, 0], b[:, 0])
    start = np.clip(np.ceil(low - 0.5), first, end).astype(np.int64)
    stop = np.clip(np.ceil(high - 0.5), first, end).astype(np.int64)
    counts = stop - start
    edge = np.repeat(np.arange(len(a)), counts)
    columns = np.arange(len(edge)) + np.repeat(start - (np.cumsum(counts) - counts), counts)
    (ax, ay), (bx, by) = a[edge].T, b[edge].T
    y = ay + (columns + 0.5 - ax) / (bx - ax) * (by - ay)
    rows = np.clip(np.ceil(y - 0.5), 0, height).astype(np.int64)
    return np.sort((columns - first) * (height + 1) + rows)
