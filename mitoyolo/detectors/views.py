"""Test-time augmentation: each tile is seen turned and mirrored, and what is seen becomes one.

Detections of several views are fused by weighted centroids: the boxes of one place are averaged by
their scores, and the score is the mean over all views, those that saw nothing included. Source:
Solovyev, Wang, Gabruseva, Weighted boxes fusion (Image and Vision Computing 107, 2021); boxes of
one place are here those within the radius in which a mitosis counts as the same, not those that
overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from converters.errors import OptionError
from mitoyolo.detectors.around import Around
from mitoyolo.detectors.card import VIEWS, Card
from mitoyolo.images import RGB
from mitoyolo.inference.merge import MERGE_UM, SCORE, Detections

if TYPE_CHECKING:
    from mitoyolo.detectors.base import Detector

FAINT = 0.01
"""Scores under this are not fused: they change nothing, and are most of a tile's."""


def check_views(views: int) -> None:
    """Refuse a number of views that there is not."""
    if views not in VIEWS:
        known = ", ".join(map(str, VIEWS))
        raise OptionError(f"--views {views}: expected one of {known}")


class Views(Around):
    """A detector that sees each tile in as many views as its card says."""

    def __init__(self, detector: Detector, card: Card) -> None:
        super().__init__(detector, card)
        detector.least = FAINT
        self.least = 0.0  # a faint view counts too

    def predict(self, tiles: Sequence[RGB], imgsz: int | None = None) -> list[Detections]:
        """Detections of each tile in its own pixels; the tiles are RGB and of one shape."""
        height, width = tiles[0].shape[:2]
        seen = []
        for turn in self._turns:
            turned_tiles = [turned(tile, *turn) for tile in tiles]
            found = self._detector.predict(turned_tiles, imgsz)
            seen.append([turned_back(rows, *turn, width, height) for rows in found])
        mpp = self._mpp(tiles, imgsz)
        return [fused(rows, mpp) for rows in zip(*seen, strict=True)]


def turned(tile: RGB, turns: int, mirrored: bool) -> RGB:
    """A tile after quarter turns to the left, then mirrored left to right."""
    seen = np.rot90(tile, turns)
    return np.ascontiguousarray(seen[:, ::-1] if mirrored else seen)


def turned_back(
    found: Detections, turns: int, mirrored: bool, width: int, height: int
) -> Detections:
    """Detections on a turned tile as they lie on the tile itself, of ``width`` x ``height`` px."""
    rows = found.copy()
    if turns % 2:
        width, height = height, width
    if mirrored:
        rows[:, 0] = width - rows[:, 0]
    for _ in range(turns):
        rows[:, 0], rows[:, 1] = height - rows[:, 1], rows[:, 0].copy()
        rows[:, [2, 3]] = rows[:, [3, 2]]
        width, height = height, width
    return rows


def fused(views: Sequence[Detections], mpp: tuple[float, float]) -> Detections:
    """The detections of all views of one tile as one list, the highest score first.

    Parameters
    ----------
    views : sequence of (n, 6) float64
        Of each view, in the tile's pixels.
    mpp : (float, float)
        µm per pixel across and down.

    Returns
    -------
    (m, 6) float64
        Of each place at most one a class, from at most one of each view.
    """
    rows = np.concatenate(
        [np.column_stack([found, np.full(len(found), i)]) for i, found in enumerate(views)]
    )
    rows = rows[rows[:, SCORE] >= FAINT]
    parts = [_fused_class(rows[rows[:, 5] == label], mpp, len(views)) for label in set(rows[:, 5])]
    result = np.concatenate([np.empty((0, 6)), *parts])
    return result[np.lexsort((result[:, 1], result[:, 0], result[:, 5], -result[:, SCORE]))]


def _fused_class(rows: Detections, mpp: tuple[float, float], views: int) -> Detections:
    rows = rows[np.lexsort((rows[:, 6], rows[:, 1], rows[:, 0], -rows[:, SCORE]))]
    places = rows[:, :2] * np.asarray(mpp)
    near = cKDTree(places).query_ball_point(places, MERGE_UM, return_sorted=True)
    free = np.ones(len(rows), bool)
    done = []
    for i in range(len(rows)):  # the best of what is left gathers what lies about it
        if not free[i]:
            continue
        members = np.array([j for j in near[i] if free[j]])
        free[members] = False
        _, first = np.unique(rows[members, 6], return_index=True)  # the best of each view
        each = rows[members[first]]
        score = each[:, SCORE]
        done.append([*(score @ each[:, :4] / score.sum()), score.sum() / views, rows[i, 5]])
    return np.array(done)
