"""Closed lines as files hold them: their closing point, upright rectangles, holes in rings."""

from __future__ import annotations

from collections.abc import Sequence

from converters.geometry import Box, Point, points_box
from converters.shapes import Polygon, Ring


def opened(points: Sequence[Point]) -> Ring:
    """A ring without the last point where it repeats the first."""
    closes = len(points) > 1 and points[0] == points[-1]
    return tuple(points[:-1] if closes else points)


def closed(ring: Ring) -> list[list[float]]:
    """A ring whose last point repeats the first, as GeoJSON wants it (RFC 7946, 3.1.6)."""
    return [list(point) for point in (*ring, ring[0])]


def box_corners(box: Box) -> Ring:
    """The corners of an upright box, from the upper left, clockwise on the screen."""
    left, top, right, bottom = box
    return ((left, top), (right, top), (right, bottom), (left, bottom))


def upright_box(ring: Ring) -> Box | None:
    """The box that a ring of four corners is; None where it is anything else."""
    if len(ring) != 4:
        return None
    box = points_box(ring)
    corners = box_corners(box)
    if ring[0] not in corners:
        return None
    start = corners.index(ring[0])
    turned = corners[start:] + corners[:start]
    return box if ring in (turned, (turned[0], *turned[:0:-1])) else None


def nested(polygon: Polygon) -> list[tuple[Ring, list[Ring]]]:
    """Each ring with the holes that lie in it: a hole is the smallest ring's that holds it. One
    that lies in none is the first's."""
    parts: list[tuple[Ring, list[Ring]]] = [(ring, []) for ring in polygon.rings]
    if len(parts) == 1:
        return [(polygon.rings[0], list(polygon.holes))]
    areas = [Polygon((ring,)).area for ring in polygon.rings]
    for hole in polygon.holes:
        point, area = _inside(hole), Polygon((hole,)).area
        # a smaller ring around the point is an island in the hole
        around = [i for i, (ring, _) in enumerate(parts) if areas[i] > area and _holds(ring, point)]
        parts[min(around, key=areas.__getitem__, default=0)][1].append(hole)
    return parts


def _inside(ring: Ring) -> Point:
    """A point inside a ring, on no vertex: in the middle of its first stretch on a level between
    two of its vertices."""
    levels = sorted({y for _, y in ring})
    y = sum(levels[:2]) / len(levels[:2])
    stretch = sorted(_crossings(ring, y))[:2]
    return (sum(stretch) / 2, y) if len(stretch) == 2 else ring[0]


def _holds(ring: Ring, point: Point) -> bool:
    return sum(x > point[0] for x in _crossings(ring, point[1])) % 2 == 1


def _crossings(ring: Ring, y: float) -> list[float]:
    """Where the sides of a ring cross a level."""
    return [
        ax + (y - ay) * (bx - ax) / (by - ay)
        for (ax, ay), (bx, by) in zip(ring, ring[1:] + ring[:1], strict=True)
        if (ay > y) != (by > y)
    ]
