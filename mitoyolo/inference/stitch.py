"""Which tile answers for a place: what overlapping tiles saw becomes one set of detections.

A cell on the edge of a tile is cut: its centre is seen elsewhere, or it looks like another cell. In
the middle of an overlap it is whole. So each place belongs to the one tile in which it lies
deepest, and what another tile says of it does not count. Where that tile was not searched (it is
glass, or absent from a dataset), any other may speak.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from converters.mpp import Mpp
from mitoyolo.inference.merge import Detections, merge
from mitoyolo.tiles import Window

SLACK_UM = 2.0
"""Two tiles place a cell's centre as far apart as this: nearer than that to the border, either's
word is kept, and the merging leaves the higher score."""

NOTHING: Detections = np.empty((0, 6))

Places = NDArray[np.float64]


def stitch(windows: Sequence[Window], found: Sequence[Detections], mpp: Mpp) -> Detections:
    """Detections of overlapping tiles, one a cell.

    Parameters
    ----------
    windows : sequence of Window
        The tiles that were searched, in any order, in pixels of one image.
    found : sequence of (n, 6) float64
        Each tile's detections, in its own pixels.
    mpp : (float, float)
        µm per pixel across and down.

    Returns
    -------
    (m, 6) float64
        In the image's pixels, as :func:`mitoyolo.inference.merge.merge` orders them.
    """
    if not windows:
        return NOTHING
    counts = [len(rows) for rows in found]
    of_window = np.repeat(np.arange(len(windows)), counts)
    origins = np.array([(w.x, w.y, 0, 0, 0, 0) for w in windows], dtype=float)
    rows = np.concatenate([*found, NOTHING]) + origins[of_window]
    own, near = _claims(windows, rows[:, :2], of_window, mpp)
    return merge(rows[own | near], mpp, second=~own[own | near])


def _claims(
    windows: Sequence[Window], places: Places, of_window: NDArray[np.int64], mpp: Mpp
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Of each detection: whether its tile answers for the place, and whether it nearly does, or
    nobody does."""
    columns, x = _axis([(w.x, w.width) for w in windows])
    lines, y = _axis([(w.y, w.height) for w in windows])
    index = {(c, r): i for i, (c, r) in enumerate(zip(x.tolist(), y.tolist(), strict=True))}

    def owners(at: Places) -> NDArray[np.int64]:
        column = np.searchsorted(columns, at[:, 0], side="right").tolist()
        line = np.searchsorted(lines, at[:, 1], side="right").tolist()
        return np.array([index.get(pair, -1) for pair in zip(column, line, strict=True)], int)

    owner = owners(places)
    owner[~_inside(windows, owner, places)] = -1
    near = owner == -1
    for dx in (-1, 0, 1):
        for dy in (-1, 0, 1):
            aside = np.array([dx, dy]) * SLACK_UM / np.asarray(mpp)
            near |= owners(places + aside) == of_window
    return owner == of_window, near


def _axis(sides: Sequence[tuple[int, int]]) -> tuple[Places, NDArray[np.int64]]:
    """The borders between the tiles along one axis, in the middle of what neighbours share, and
    between which of them each tile lies."""
    ends: dict[int, int] = {}
    for start, length in sides:
        ends[start] = max(ends.get(start, 0), start + length)
    starts = sorted(ends)
    borders = [(start + ends[before]) / 2 for before, start in pairwise(starts)]
    number = {start: i for i, start in enumerate(starts)}
    return np.array(borders), np.array([number[start] for start, _ in sides])


def _inside(
    windows: Sequence[Window], owner: NDArray[np.int64], places: Places
) -> NDArray[np.bool_]:
    """Whether each place lies in the window of that number; tiles may lie anywhere."""
    if not len(owner):
        return np.zeros(0, bool)
    edges = np.array([(w.x, w.y, w.x + w.width, w.y + w.height) for w in windows])[owner]
    return np.asarray(((places >= edges[:, :2]) & (places <= edges[:, 2:])).all(axis=1))
