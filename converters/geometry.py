"""Exact boxes, areas and centroids of the shapes that annotation tools draw."""

from __future__ import annotations

import math
from collections.abc import Sequence

Box = tuple[float, float, float, float]
"""left, top, right, bottom in pixels."""

Point = tuple[float, float]


def ellipse_box(center: Point, width: float, height: float, rotation: float) -> Box:
    """Bounding box of a rotated ellipse.

    Parameters
    ----------
    center : (x, y)
        Pixels.
    width, height : float
        FULL axes in pixels.
    rotation : float
        Radians about the centre, ``x' = x cos - y sin``, ``y' = x sin + y cos``, y down.

    Returns
    -------
    Box
        The half-extent across is ``sqrt((w/2 cos t)² + (h/2 sin t)²)``; down, sine and cosine
        change places: the extremes of the parametric ellipse.
    """
    a, b = width / 2, height / 2
    cos, sin = math.cos(rotation), math.sin(rotation)
    across, down = math.hypot(a * cos, b * sin), math.hypot(a * sin, b * cos)
    x, y = center
    return (x - across, y - down, x + across, y + down)


def rectangle_corners(center: Point, width: float, height: float, rotation: float) -> list[Point]:
    """The four corners of a rectangle turned by ``rotation`` radians about its centre."""
    cos, sin = math.cos(rotation), math.sin(rotation)
    x, y = center
    return [
        (x + dx * cos - dy * sin, y + dx * sin + dy * cos)
        for dx, dy in (
            (-width / 2, -height / 2),
            (width / 2, -height / 2),
            (width / 2, height / 2),
            (-width / 2, height / 2),
        )
    ]


def points_box(points: Sequence[Point]) -> Box:
    """The smallest upright box around ``points``."""
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    return (min(xs), min(ys), max(xs), max(ys))


def polygon_area_centroid(points: Sequence[Point]) -> tuple[float, Point]:
    """Area in px² and centroid of a closed polygon, by the shoelace formula.

    A polygon without area (a line, or all points the same) has area 0 and the mean of its
    points as centroid. One that crosses itself has loops that cancel: where that carries the
    centroid out of the points' box, it is their mean too.
    """
    x0, y0 = points[0]  # relative to a vertex: slide coordinates are large and squares cancel
    twice, cx, cy = 0.0, 0.0, 0.0
    for (ax, ay), (bx, by) in zip(points, [*points[1:], points[0]], strict=True):
        ax, ay, bx, by = ax - x0, ay - y0, bx - x0, by - y0
        cross = ax * by - bx * ay
        twice += cross
        cx += (ax + bx) * cross
        cy += (ay + by) * cross
    left, top, right, bottom = points_box(points)
    n = len(points)
    mean = (sum(p[0] for p in points) / n, sum(p[1] for p in points) / n)
    if abs(twice) <= 1e-9 * max((right - left) * (bottom - top), 1e-300):
        return 0.0, mean
    x, y = x0 + cx / (3 * twice), y0 + cy / (3 * twice)
    inside = left <= x <= right and top <= y <= bottom
    return abs(twice) / 2, (x, y) if inside else mean


def square_um(center: Point, radius_um: float, mpp: tuple[float, float]) -> Box:
    """The square of half-side ``radius_um`` around a centroid, in pixels of ``mpp`` µm/px."""
    x, y = center
    across, down = radius_um / mpp[0], radius_um / mpp[1]
    return (x - across, y - down, x + across, y + down)


def clip_box(box: Box, width: float, height: float) -> Box:
    """``box`` cut at an image's edges."""
    left, top, right, bottom = box
    return (
        min(max(left, 0.0), width),
        min(max(top, 0.0), height),
        min(max(right, 0.0), width),
        min(max(bottom, 0.0), height),
    )


def clip_ring(ring: Sequence[Point], width: float, height: float) -> list[Point]:
    """A closed polygon cut at an image's edges, each in turn; empty where nothing is inside.

    What the edges cut apart stays one ring, joined along the edge: its area is exact.

    Source: Sutherland and Hodgman, Reentrant polygon clipping, CACM 17 (1974).
    """
    points = list(ring)
    for axis, edge, sign in ((0, 0.0, 1), (0, width, -1), (1, 0.0, 1), (1, height, -1)):
        points = _clip_half(points, axis, edge, sign)
    return points


def _clip_half(points: list[Point], axis: int, edge: float, sign: int) -> list[Point]:
    """The part of a ring on one side of an upright line: above ``edge`` on the axis for sign 1."""
    kept: list[Point] = []
    for i, b in enumerate(points):
        a = points[i - 1]
        a_in, b_in = sign * (a[axis] - edge) >= 0, sign * (b[axis] - edge) >= 0
        if a_in != b_in:
            share = (edge - a[axis]) / (b[axis] - a[axis])
            p, q = a[1 - axis], b[1 - axis]
            other = min(max(p + share * (q - p), min(p, q)), max(p, q))  # rounding stays between
            kept.append((edge, other) if axis == 0 else (other, edge))
        if b_in:
            kept.append(b)
    return kept
