"""Where most mitoses lie in a window of a given area: the best circle and the best square.

The best of all windows, not of a grid's: a search that halves cells of centres and keeps those
that may still hold a better one (branch and bound) leaves a few points that can lie on the best
window's edge, and around each of them a sweep finds the best window exactly.

Source: Chazelle and Lee, On a circle placement problem, Computing 36 (1986), for the sweep; Land
and Doig, An automatic method of solving discrete programming problems, Econometrica 28 (1960).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

HOTSPOT_MM2 = 2.0
"""Area of the hotspot: what the field means by ten high-power fields today."""

EDGE_UM = 1e-6
"""A point this far outside still lies on a window's edge, which belongs to it: rounding of places
on a slide stays well below."""

Points = NDArray[np.float64]
"""Shape (n, 2): x, y."""


@dataclass(frozen=True, slots=True)
class Hotspot:
    """The window with the most points.

    Attributes
    ----------
    shape : str
        `circle` or `square`, its sides upright.
    area_mm2 : float
        Of the whole window, tissue or not.
    centre_um : (float, float)
        x, y.
    count : int
        Points in it, those on its edge among them.
    """

    shape: str
    area_mm2: float
    centre_um: tuple[float, float]
    count: int


def reach_um(shape: str, area_mm2: float) -> float:
    """µm from the centre to the edge: the radius of a `circle`, half of the side of a `square`."""
    return _SHAPES[shape].reach_um(area_mm2)


def hottest_circle(points_um: Points, area_mm2: float = HOTSPOT_MM2) -> Hotspot | None:
    """The circle of an area that holds the most points.

    Parameters
    ----------
    points_um : (n, 2) float64
        µm, in any order.
    area_mm2 : float
        Above 0.

    Returns
    -------
    Hotspot or None
        No circle of that area, wherever its centre, holds more. Among equally good ones it is
        always the same, whatever the order of the points, and its centre is the mean of its
        points where that loses none. None without points.
    """
    return _hottest("circle", points_um, area_mm2)


def hottest_square(points_um: Points, area_mm2: float = HOTSPOT_MM2) -> Hotspot | None:
    """As :func:`hottest_circle`, of the squares with upright sides."""
    return _hottest("square", points_um, area_mm2)


def _hottest(name: str, points_um: Points, area_mm2: float) -> Hotspot | None:
    points = np.asarray(points_um, float).reshape(-1, 2)
    if not (np.isfinite(points).all() and 0 < area_mm2 < math.inf):
        raise ValueError("expected finite points and an area above 0")
    if not len(points):
        return None
    search = _Search(_SHAPES[name], points[np.lexsort(points.T)], area_mm2)
    x, y = search.best_centre()
    return Hotspot(name, area_mm2, (x, y), search.best)


# --- the search -------------------------------------------------------------------------------

_SMALLEST = 1 / 65536  # half side of the last cells, in reaches of the window
_MOST_CELLS = 20_000  # where more stay, the points are on a grid or a line: sweeping is as quick
_TRIED = 32  # centres of the most promising cells, counted at each step


class _Search:
    """The best window so far, over points in a tree."""

    def __init__(self, shape: _Shape, points: Points, area_mm2: float) -> None:
        self.shape, self.points, self.tree = shape, points, cKDTree(points)
        self.place = np.unique(points, axis=0, return_inverse=True)[1]
        self.reach = shape.reach_um(area_mm2)
        self.centre, self.best = points[0], 0
        self._try(points[:1])

    def best_centre(self) -> tuple[float, float]:
        """Find the best window; the centre that it is shown with."""
        cells, bounds, half = self._cells()
        width = half * self.shape.diagonal
        swept: set[int] = set()
        for i in np.argsort(-bounds, kind="stable"):
            if bounds[i] <= self.best:
                break
            for p in self._on_edge(cells[i], width):
                if self.place[p] not in swept:
                    swept.add(self.place[p])
                    near = self._within(self.points[p], 2 * self.reach + EDGE_UM)
                    # half the tolerance, so that the count below finds what the sweep has found
                    found = self.shape.sweep(
                        self.points[p], self.points[near], self.reach + EDGE_UM / 2
                    )
                    self._try(found[np.newaxis])
        self._try_mean()
        return float(self.centre[0]), float(self.centre[1])

    def _cells(self) -> tuple[Points, NDArray[np.int64], float]:
        """Square cells that hold every centre better than the best so far: their own centres,
        the most that a window with its centre in each may hold, and half of their side."""
        low, high = self.points.min(axis=0), self.points.max(axis=0)
        cells, half = ((low + high) / 2)[np.newaxis], float((high - low).max()) / 2 + self.reach
        bounds = np.array([len(self.points)])
        while len(cells) and half > self.reach * _SMALLEST:
            half /= 2
            cells = (cells[:, np.newaxis] + half * _QUARTERS).reshape(-1, 2)
            bounds = self._counts(cells, self.reach + half * self.shape.diagonal + EDGE_UM)
            self._try(cells[np.argsort(-bounds, kind="stable")[:_TRIED]])
            cells, bounds = cells[bounds > self.best], bounds[bounds > self.best]
            if len(cells) > _MOST_CELLS:
                break
        return cells, bounds, half

    def _on_edge(self, cell: Points, width: float) -> list[int]:
        """Points that can lie on the edge of a window with its centre in a cell."""
        near = self._within(cell, self.reach + width + EDGE_UM)
        away = np.linalg.norm(self.points[near] - cell, self.shape.norm, axis=1)
        return [int(i) for i in near[away >= self.reach - width - EDGE_UM]]

    def _within(self, centre: Points, reach: float) -> NDArray[np.int64]:
        """Indices of the points within a reach, sorted."""
        found = self.tree.query_ball_point(centre, reach, p=self.shape.norm, return_sorted=True)
        return np.asarray(found, np.int64)

    def _counts(self, centres: Points, reach: float) -> NDArray[np.int64]:
        found = self.tree.query_ball_point(centres, reach, p=self.shape.norm, return_length=True)
        return np.asarray(found, np.int64)

    def _try(self, centres: Points) -> None:
        """Take the first of the best of some centres, if it is better."""
        counts = self._counts(centres, self.reach + EDGE_UM)
        i = int(np.argmax(counts))
        if counts[i] > self.best:
            self.best, self.centre = int(counts[i]), centres[i]

    def _try_mean(self) -> None:
        """Centre the window on its points, where it then holds as many."""
        mean = self.points[self._within(self.centre, self.reach + EDGE_UM)].mean(axis=0)
        if self._counts(mean[np.newaxis], self.reach + EDGE_UM)[0] >= self.best:
            self.centre = mean


_QUARTERS = np.array([(-1.0, -1.0), (1.0, -1.0), (-1.0, 1.0), (1.0, 1.0)])


# --- the shapes -------------------------------------------------------------------------------


def _sweep_circle(point: Points, near: Points, radius: float) -> Points:
    """Centre of the best circle that has a point on its edge.

    As the circle turns about the point, each point in reach is inside between two angles; most
    are at an angle where one comes in.
    """
    away = near - point
    distance = np.hypot(away[:, 0], away[:, 1])
    half = np.where(distance > 0, np.arccos(np.minimum(distance / (2 * radius), 1)), np.pi)
    comes = (np.arctan2(away[:, 1], away[:, 0]) - half) % (2 * np.pi)
    leaves = np.sort(comes + 2 * half)
    comes = np.sort(comes)
    inside = (
        np.searchsorted(comes, comes, side="right")
        - np.searchsorted(leaves, comes)
        + len(leaves)
        - np.searchsorted(leaves, comes + 2 * np.pi)  # those that leave after a full turn
    )
    angle = comes[np.argmax(inside)]
    return np.asarray(point + radius * np.array([np.cos(angle), np.sin(angle)]))


def _sweep_square(point: Points, near: Points, half: float) -> Points:
    """Centre of the best square that has a point on its left side: slid down, most are in it when
    a point lies on its upper side."""
    x, y = near.T
    y = np.sort(y[(x >= point[0]) & (x <= point[0] + 2 * half)])
    inside = np.searchsorted(y, y + 2 * half, side="right") - np.arange(len(y))
    return np.array([point[0] + half, y[np.argmax(inside)] + half])


@dataclass(frozen=True, slots=True)
class _Shape:
    """A shape as all places within a reach by a norm.

    Attributes
    ----------
    norm : float
        2 or infinity.
    diagonal : float
        How far a cell's corner is from its centre, in half sides, by the norm.
    reach_um : callable
        Area in mm² -> the radius, or half of the side.
    sweep : callable
        A point, all points within two reaches of it, and the reach -> the best centre.
    """

    norm: float
    diagonal: float
    reach_um: Callable[[float], float]
    sweep: Callable[[Points, Points, float], Points]


_SHAPES = {
    "circle": _Shape(2, math.sqrt(2), lambda mm2: 1000 * math.sqrt(mm2 / math.pi), _sweep_circle),
    "square": _Shape(math.inf, 1, lambda mm2: 500 * math.sqrt(mm2), _sweep_square),
}
