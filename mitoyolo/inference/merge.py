"""One mitosis, one detection: what several tiles saw twice becomes one, best score first."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

MERGE_UM = 8.0
"""Two detections of one class whose centres are this close are one cell: the radius within which
the field counts a detection as the same mitosis."""

Detections = NDArray[np.float64]
"""Shape (n, 6): centre x, centre y, width, height in pixels, score, class."""

SCORE = 4
"""Column of the scores."""


def merge(
    detections: Detections,
    mpp: tuple[float, float],
    radius_um: float = MERGE_UM,
    second: NDArray[np.bool_] | None = None,
) -> Detections:
    """Keep each detection that no better one of its class lies within ``radius_um`` of.

    Parameters
    ----------
    detections : (n, 6) float64
        In the pixels of one source image, in any order.
    mpp : (float, float)
        µm per pixel across and down.
    radius_um : float
        Inclusive.
    second : (n,) bool, optional
        Detections that give way to others of the same score.

    Returns
    -------
    (m, 6) float64
        Falling score; equal scores by place, class and size, so that the order given plays no
        part.
    """
    rows = detections[_falling(detections, second)]
    if len(rows) < 2:
        return rows
    places = rows[:, :2] * np.asarray(mpp)
    pairs = cKDTree(places).query_pairs(radius_um, output_type="ndarray")
    pairs = np.sort(pairs[rows[pairs[:, 0], 5] == rows[pairs[:, 1], 5]], axis=1)
    n = len(rows)
    weaker = csr_matrix((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    alive = np.ones(n, dtype=bool)
    for i in np.unique(pairs[:, 0]):  # the better is first, so a row's fate is known when reached
        if alive[i]:
            alive[weaker.indices[weaker.indptr[i] : weaker.indptr[i + 1]]] = False
    rows = rows[alive]
    return rows if second is None else rows[_falling(rows)]


def _falling(detections: Detections, second: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
    x, y, width, height, score, label = detections.T
    last = np.zeros(len(score), bool) if second is None else second
    return np.lexsort((height, width, label, y, x, last, -score))
